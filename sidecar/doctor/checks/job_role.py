"""Check the role that jobs get instead of the task role."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError

from sidecar.aws.container_credentials import UpstreamError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from sidecar.doctor.setup import Setup

NAME = "doctor"
"""The name of the session, which CloudTrail shows."""


async def check(setup: Setup) -> list[Finding]:
    """Assume the role as a life would, and give the credentials to nobody."""
    if not setup.access.separate_job_role:
        return []
    try:
        role = setup.access.job_role(setup.config)
        role.set_runner(NAME)
        async with role.connected() as fetch:
            credentials = await fetch(time.time(), setup.patience.aws)
    except (UpstreamError, BotoCoreError) as error:
        change = "allow sts:AssumeRole on it, let its trust policy name the task role, and see dns"
        return [failed(str(error), change)]
    return [ok(f"jobs get {credentials.role_arn}, and never the task role")]
