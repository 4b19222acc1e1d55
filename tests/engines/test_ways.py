"""The docker proxy's variables fit the relay mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import matrix, proxied, starting, table
from tests.engines.test_less import JOB_ROLE

if TYPE_CHECKING:
    from tests.engines.places import Place
    from tests.engines.starting import ContainerResult

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.node]


def read_roles(result: ContainerResult) -> dict[str, str | None]:
    """Return the role that each client got."""
    return {
        client: client_result.role or client_result.error
        for client, client_result in result.results.items()
    }


def test_in_pass_through_mode_containers_get_the_task_s_path(place: Place) -> None:
    """The ECS agent answers the containers itself, and knows no other path."""
    with proxied.run_proxied(place, SIDECAR_RELAY="pass-through") as proxied_life:
        result = starting.ask_all(place, proxied_life, "docker")
    assert result.path == place.task.relative_uri
    assert read_roles(result) == dict.fromkeys(starting.CLIENTS, table.ROLE)


def test_with_a_separate_job_role_containers_get_that(place: Place) -> None:
    """Through the container's own path, and never more rights than the job's steps."""
    env = {"SIDECAR_JOB_ROLE_ARN": JOB_ROLE, "SIDECAR_RELAY_IMDS": "false"}
    with proxied.run_proxied(place, **env) as proxied_life:
        result = starting.ask_all(place, proxied_life, "docker")
        assert result.path != proxied_life.running.environment[matrix.RELATIVE_URI]
    assert result.path not in (None, place.task.relative_uri)
    assert read_roles(result) == dict.fromkeys(starting.CLIENTS, "job")
