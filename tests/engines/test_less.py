"""Containers of a job with a separate job role get that role, and not the task role."""

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
    """A container never has more rights than the job's own steps."""
    with lives.run_life(place, SIDECAR_JOB_ROLE_ARN=JOB_ROLE) as life:
        uri = life.environment[matrix.RELATIVE_URI]
        answers = matrix.ask_all(place, where, uri)
    roles = {
        (variant, client): result.role or result.error
        for variant, clients in answers.items()
        for client, result in clients.items()
    }
    assert len(roles) == len(matrix.VARIANTS) * len(matrix.CLIENTS)
    assert set(roles.values()) == {"job"}, roles
