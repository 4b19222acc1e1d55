"""Check whom AWS takes this process for, and so whose rights are examined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.words import explain_aws
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, ok

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Ask STS."""
    try:
        identity = await setup.identity()
    except AwsError as error:
        return [explain_aws(error)]
    return [ok(f"AWS takes the launcher for {identity.arn}")]
