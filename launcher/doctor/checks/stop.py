"""Check that the agents' stop budget fits the time that ECS gives their containers for the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.examination.finding import Finding
from sidecar.examination.stop import judge_budget

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup

SETTING = "SIDECAR_STOP_TIMEOUT"


async def check(setup: Setup) -> list[Finding]:
    """Compare SIDECAR_STOP_TIMEOUT with stopTimeout in each task definition."""
    found = []
    for target in await setup.list_targets():
        definition = await setup.find_definition(target)
        if definition is None or target.container not in definition.containers:
            continue
        container = definition.containers[target.container]
        given = definition.read_variables(target.container).get(SETTING)
        finding = judge_budget(
            _read_seconds(given), container.get("stopTimeout"), fargate=bool(target.fargate)
        )
        found.append(Finding(finding.level, f"{target.name}: {finding.text}", finding.change))
    return found


def _read_seconds(text: str | None) -> float | None:
    """Read the setting; None where it is not set, or no number: the agent refuses that itself."""
    try:
        return float(text) if text else None
    except ValueError:
        return None
