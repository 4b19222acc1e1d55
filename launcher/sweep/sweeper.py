"""Sweep once: look, compare with the look before, end what was an orphan both times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.sweep.findings import Outcome, Report
from launcher.sweep.inventory import Stocktaker
from launcher.sweep.rules.runners import Runners
from launcher.sweep.rules.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.sweep.around import Around
    from launcher.sweep.findings import Finding
    from launcher.sweep.marks import Marks
    from launcher.sweep.rules import Rule


class Sweeper:
    """Sweeps, again and again. `pause` seconds lie between two looks at the same thing, at least.

    `dry_run`: say what would be ended, and end nothing.
    """

    def __init__(
        self, around: Around, marks: Marks, pause: float, *, dry_run: bool = False
    ) -> None:
        self._around = around
        self._marks = marks
        self._pause = pause
        self._dry_run = dry_run
        self._stocktaker = Stocktaker(around)
        self._rules: tuple[Rule, ...] = (Runners(around), Tokens(around))

    async def sweep(self) -> Report:
        """Sweep once. Raises SidecarError where nothing is known of earlier looks."""
        report = Report()
        seen = await self._stocktaker.take(report)
        found = [rule.find(seen) for rule in self._rules]
        keys = {finding.key for findings in found for finding in findings}
        first = await self._marks.look(keys, seen.begun)
        for rule, findings in zip(self._rules, found, strict=True):
            due = [each for each in findings if self._is_due(each, seen.begun - first[each.key])]
            for finding in findings:
                if finding not in due:
                    report.add(finding, Outcome.FOUND)
            await self._end(rule, due, report)
        return report

    def _is_due(self, finding: Finding, seconds: float) -> bool:
        return seconds >= max(self._pause, finding.patience)

    async def _end(self, rule: Rule, due: Sequence[Finding], report: Report) -> None:
        if not self._dry_run:
            await rule.end(due, report)
            return
        for finding in due:
            report.add(finding, Outcome.WOULD_REMOVE)
