"""A container's AWS clients get the role however the container is started.

The relay's IMDS protocol is off here, so a client can get the role only by the path that was minted
for its container.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.engines import matrix, proxied, starting, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife
    from tests.engines.starting import ContainerResult

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.node]


@pytest.fixture(scope="module")
def proxied_life(place: Place) -> Iterator[ProxiedLife]:
    """Run an agent whose proxy alone gives containers credentials."""
    with proxied.run_proxied(place, SIDECAR_RELAY_IMDS="false") as proxied_life:
        yield proxied_life


@pytest.fixture(scope="module")
def paths(proxied_life: ProxiedLife) -> set[str]:
    """Collect the paths of containers; the job's own is the first."""
    return {proxied_life.running.environment[matrix.RELATIVE_URI]}


@pytest.fixture(params=starting.STARTERS)
def result(
    request: pytest.FixtureRequest, place: Place, proxied_life: ProxiedLife
) -> ContainerResult:
    """Run every client in a container that is started in one way."""
    return starting.ask_all(place, proxied_life, request.param)


def test_every_client_gets_the_role_by_its_container_s_path(
    result: ContainerResult, paths: set[str]
) -> None:
    """The container also gets the region, and no instance metadata."""
    roles = {client: found.role or found.error for client, found in result.results.items()}
    assert roles == dict.fromkeys(starting.CLIENTS, table.ROLE)
    assert result.path is not None
    assert result.path not in paths
    paths.add(result.path)
    assert result.environment == {
        matrix.RELATIVE_URI: result.path,
        "AWS_REGION": aws.REGION,
        "AWS_DEFAULT_REGION": aws.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
