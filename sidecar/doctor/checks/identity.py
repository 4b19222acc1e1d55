"""Check whom AWS takes the agent for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.aws.calls import STS, AwsError, TransientError
from sidecar.doctor.endpoints import list_services
from sidecar.errors import SidecarError
from sidecar.examination.aws_errors import explain_aws
from sidecar.examination.finding import Finding, ok, warning
from sidecar.roles.trust import find_assumed

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask STS with the agent's own credentials."""
    needed = list_services(setup.settings)
    try:
        identity = await setup.identity()
    except AwsError as error:
        if not needed or (needed == [STS] and await _is_proved_by_tokens(setup)):
            return [ok("there are no AWS credentials, and no setting needs any")]
        found = explain_aws(error)
        if isinstance(error, TransientError) and "credentials" not in str(error):
            change = "give the VPC an endpoint for sts, if you want to know; a life does without"
            if not setup.access.separate_job_role:
                found = warning(str(error), change)
        return [found]
    return [ok(f"AWS takes the agent for {identity.arn}")]


async def _is_proved_by_tokens(setup: Setup) -> bool:
    """Return whether GitHub's tokens prove all that jobs get, and nothing of the agent's own."""
    try:
        rules = await setup.rules()
    except SidecarError:  # the line job role tells it
        return False
    return rules is not None and not find_assumed(rules)
