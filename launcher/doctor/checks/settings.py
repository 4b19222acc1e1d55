"""Check the settings: what is set and has no meaning, and what is not set at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.examination.finding import Finding, ok, warning

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup


async def check(setup: Setup) -> list[Finding]:
    """List what was ignored, and what nobody can look at."""
    settings = setup.settings
    found = [warning(text, "correct its name, or leave it out") for text in setup.warnings]
    if settings.pools is None and settings.task_definition is None:
        text = "neither pools nor a task definition are named: nothing that is started is examined"
        found.append(warning(text, "set LAUNCHER_POOLS, or LAUNCHER_TASK_DEFINITION"))
    return found or [ok(f"{len(settings.model_fields_set)} settings are set")]
