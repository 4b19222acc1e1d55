"""Check whom AWS takes the agent for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import AwsError, TransientError
from sidecar.doctor.endpoints import list_services
from sidecar.examination.aws_errors import explain_aws
from sidecar.examination.finding import Finding, ok, warning

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask STS with the agent's own credentials."""
    needed = list_services(setup.settings)
    try:
        identity = await setup.identity()
    except AwsError as error:
        if not needed:
            return [ok("there are no AWS credentials, and no setting needs any")]
        found = explain_aws(error)
        if isinstance(error, TransientError) and "credentials" not in str(error):
            change = "give the VPC an endpoint for sts, if you want to know; a life does without"
            if not setup.access.separate_job_role:
                found = warning(str(error), change)
        return [found]
    return [ok(f"AWS takes the agent for {identity.arn}")]
