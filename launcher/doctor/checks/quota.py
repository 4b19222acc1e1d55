"""Check Fargate's quotas against what the pools may start at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.doctor.account import QUOTAS, explain_unseen
from launcher.pools.pool import FARGATE, FARGATE_SPOT
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, failed, ok, warning

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup

CODES = {FARGATE: "L-3032A538", FARGATE_SPOT: "L-36FBB829"}
"""Fargate's quotas of vCPUs that run at the same time (AWS, "Amazon ECS endpoints and quotas")."""
UNITS = 1024
"""CPU units of one vCPU."""


async def check(setup: Setup) -> list[Finding]:
    """Compare each quota with one task, and with all that may live together."""
    found = []
    for kind, code in CODES.items():
        largest, together = 0.0, 0.0
        for target in await setup.list_targets():
            definition = await setup.find_definition(target)
            if kind not in target.fargate or definition is None:
                continue
            cpus = (target.cpu or definition.cpu) / UNITS
            largest, together = max(largest, cpus), together + cpus * target.maximum
        if largest:
            found.append(await _check(setup, kind, code, largest, together))
    return found


async def _check(setup: Setup, kind: str, code: str, largest: float, together: float) -> Finding:
    try:
        answer = await setup.account.ask(
            QUOTAS, "get_service_quota", ServiceCode="fargate", QuotaCode=code
        )
    except AwsError as error:
        return explain_unseen(error, f"look at the quota {code} in the console")
    value = float((answer or {}).get("Quota", {}).get("Value", 0.0))
    text = f"the quota of {kind} is {value:g} vCPUs"
    change = f"ask AWS for more (Service Quotas, fargate, {code})"
    if largest > value:
        return failed(f"{text}, and one task needs {largest:g}: none can be started", change)
    if together > value:
        text += f", and the pools may need {together:g} at the same time: some launches wait"
        return warning(text, f"{change}, or lower the pools' maximum")
    return ok(f"{text}, and the pools need {together:g} at most")
