"""What the docker proxy tells containers fits the way that they have to credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines import matrix, proxied, starting, table
from tests.engines.test_less import JOB_ROLE

if TYPE_CHECKING:
    from tests.engines.places import Place
    from tests.engines.starting import Told

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.node]


def roles(told: Told) -> dict[str, str | None]:
    """Return whom each client found itself to be."""
    return {client: found.role or found.error for client, found in told.found.items()}


def test_passed_through_they_are_told_the_task_s_path(place: Place) -> None:
    """The ECS agent answers them itself: it knows no other path."""
    with proxied.proxied(place, SIDECAR_RELAY="pass-through") as through:
        told = starting.asked(place, through, "docker")
    assert told.path == place.task.relative_uri
    assert roles(told) == dict.fromkeys(starting.CLIENTS, table.ROLE)


def test_with_a_role_for_jobs_they_get_that(place: Place) -> None:
    """By a path of the container's own, and never more than the job's steps have."""
    env = {"SIDECAR_JOB_ROLE_ARN": JOB_ROLE, "SIDECAR_RELAY_IMDS": "false"}
    with proxied.proxied(place, **env) as through:
        told = starting.asked(place, through, "docker")
        assert told.path != through.living.environment[matrix.RELATIVE_URI]
    assert told.path not in (None, place.task.relative_uri)
    assert roles(told) == dict.fromkeys(starting.CLIENTS, "job")
