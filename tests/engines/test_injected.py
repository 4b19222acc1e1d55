"""Whatever starts a container, its AWS clients get the role, though nobody told it anything.

The relay's other face is off in these lives: whoever gets the role got it by a path that was
minted for its container, since there is no other way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.engines import matrix, proxied, starting, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.places import Place
    from tests.engines.proxied import Proxied
    from tests.engines.starting import Told

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.node]


@pytest.fixture(scope="module")
def through(place: Place) -> Iterator[Proxied]:
    """Have a life with a proxy and nothing else that answers containers."""
    with proxied.proxied(place, SIDECAR_RELAY_IMDS="false") as through:
        yield through


@pytest.fixture(scope="module")
def paths(through: Proxied) -> set[str]:
    """Collect the paths that containers were told; at first, the job's own."""
    return {through.living.environment[matrix.RELATIVE_URI]}


@pytest.fixture(params=starting.STARTERS)
def told(request: pytest.FixtureRequest, place: Place, through: Proxied) -> Told:
    """Have every client ask in a container that is started in one way."""
    return starting.asked(place, through, request.param)


def test_every_client_gets_the_role_by_a_path_of_its_container_s_own(
    told: Told, paths: set[str]
) -> None:
    """And the region, and no way to the instance's metadata, whoever started the container."""
    roles = {client: found.role or found.error for client, found in told.found.items()}
    assert roles == dict.fromkeys(starting.CLIENTS, table.ROLE)
    assert told.path is not None
    assert told.path not in paths
    paths.add(told.path)
    assert told.environment == {
        matrix.RELATIVE_URI: told.path,
        "AWS_REGION": aws.REGION,
        "AWS_DEFAULT_REGION": aws.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
