"""Remove the runners at GitHub that are offline and whose task or machine is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import describe
from launcher.sweep.findings import Finding, Kind, Outcome
from sidecar import github
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from launcher.sweep.inventory import Inventory

HAS_JOB = "it has a job"


class Runners:
    """The rule for runners."""

    def __init__(self, around: Around) -> None:
        self._around = around

    def find(self, seen: Inventory, report: Report) -> list[Finding]:
        """Find runners of ours that are offline and have no task any more."""
        del report
        found = []
        for url, runners in seen.runners.items():
            for runner in runners:
                task = self._around.claims.find_task(runner.name)
                if task is None or task not in seen.owned or not seen.is_gone(task):
                    continue
                if runner.online or runner.busy:
                    continue
                reason = f"it is offline, and {task} is gone"
                found.append(Finding(Kind.RUNNER, runner.name, reason, str(runner.id), url))
        return found

    async def end(self, findings: Sequence[Finding], report: Report) -> None:
        """Remove them, unless GitHub says that they are needed."""
        for finding in findings:
            try:
                kept = await self._remove(finding)
            except SidecarError as error:
                report.add(finding, Outcome.KEPT, describe(error), failed=True)
            else:
                report.add(finding, Outcome.KEPT if kept else Outcome.REMOVED, kept or "")

    async def _remove(self, finding: Finding) -> str | None:
        """Remove one; say why, where it is kept."""
        await self._around.removals.wait()
        try:
            await (await self._around.hub.runners(finding.place)).delete(int(finding.version))
        except github.RunnerBusy:
            return HAS_JOB
        return None
