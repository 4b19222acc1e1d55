"""Containers of a job that has a role of its own get that role, and not the task's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local import aws
from tests.engines import lives, matrix

if TYPE_CHECKING:
    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.node]

JOB_ROLE = f"arn:aws:iam::{aws.ACCOUNT}:role/job"


@pytest.mark.parametrize("where", ["bridge", "host network"])
def test_every_client_gets_the_job_s_role(place: Place, where: str) -> None:
    """Whichever way it asks, a container never has more than the job's own steps have."""
    with lives.living(place, SIDECAR_JOB_ROLE_ARN=JOB_ROLE) as living:
        uri = living.environment[matrix.RELATIVE_URI]
        answers = matrix.asked(place, where, uri)
    roles = {
        (way, client): found.role or found.error
        for way, clients in answers.items()
        for client, found in clients.items()
    }
    assert len(roles) == len(matrix.WAYS) * len(matrix.CLIENTS)
    assert set(roles.values()) == {"job"}, roles
