"""Check the document of pools, as the worker reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.words import explain_aws
from launcher.pools.document import Problems
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, failed, ok

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """Read it."""
    try:
        found = await setup.pools()
    except AwsError as error:
        return [explain_aws(error)]
    if found is None:
        return []
    if isinstance(found, Problems):
        return [failed(line, "correct the document of pools") for line in found.lines]
    return [ok(f"{len(found.by_name)} pools: {', '.join(found.by_name)}")]
