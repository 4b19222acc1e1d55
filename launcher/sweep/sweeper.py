"""Sweep once: look, compare with the look before, end what was an orphan both times."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from launcher.sweep.findings import Outcome, Report
from launcher.sweep.rules.homes import Homes
from launcher.sweep.rules.others import OthersHomes, OthersRunners, OthersTokens
from launcher.sweep.rules.runners import Runners
from launcher.sweep.rules.tokens import Tokens
from launcher.sweep.stocktaking import Stocktaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.sweep.around import Around
    from launcher.sweep.findings import Finding
    from launcher.sweep.inventory import Inventory
    from launcher.sweep.marks import Marks
    from launcher.sweep.repairs import Repair
    from launcher.sweep.rules import Rule

LONGEST = 600.0
"""Seconds of one sweep; what it has no time for is left to the next one."""
RULES = (Homes, OthersHomes, Runners, OthersRunners, Tokens, OthersTokens)
SPARE = 60.0
"""Seconds beyond that until another process may sweep."""
NO_TIME = "there was no time for it: the next sweep goes on"


class Sweeper:
    """Sweeps, again and again. `pause` seconds lie between two looks at the same thing, at least.

    `repairs` are what is done beside: they end nothing.
    `dry_run`: say what would be ended, and end nothing.
    """

    def __init__(
        self,
        around: Around,
        marks: Marks,
        pause: float,
        repairs: Sequence[Repair] = (),
        *,
        dry_run: bool = False,
    ) -> None:
        self._marks = marks
        self._pause = pause
        self._dry_run = dry_run
        self._stocktaker = Stocktaker(around)
        self._repairs = repairs
        self._rules: tuple[Rule, ...] = tuple(rule(around) for rule in RULES)

    async def sweep(self, longest: float = LONGEST) -> Report | None:
        """Sweep once, within `longest` seconds. None: another process sweeps just now.

        Raises SidecarError where nothing is known of earlier looks.
        """
        if not await self._marks.claim(longest + SPARE):
            return None
        try:
            return await self._sweep(longest)
        finally:
            await self._marks.release()

    async def _sweep(self, longest: float) -> Report:
        report = Report()
        due: list[tuple[Rule, list[Finding]]] = []
        try:
            async with asyncio.timeout(longest):
                seen = await self._stocktaker.take(report)
                due = await self._look(seen, report)
                await self._end(due, report)
                for repair in self._repairs:
                    work = repair.repair(seen, report, dry_run=self._dry_run)
                    await report.attempt("what is to be sent again", work)
        except TimeoutError:
            report.leave_out("the rest", f"there was no time for it within {longest:g} s")
        done = {result.finding.key for result in report.results}
        for finding in (each for _, findings in due for each in findings):
            if finding.key not in done:
                report.add(finding, Outcome.FOUND, NO_TIME)
        return report

    async def _look(self, seen: Inventory, report: Report) -> list[tuple[Rule, list[Finding]]]:
        """Compare with the look before; return what was seen before, by its rule."""
        found = [(rule, rule.find(seen, report)) for rule in self._rules]
        keys = {finding.key for _, findings in found for finding in findings}
        first = await self._marks.look(keys, seen.begun)
        due = []
        for rule, findings in found:
            ready = [each for each in findings if self._is_due(each, seen.begun - first[each.key])]
            due.append((rule, ready))
            for finding in findings:
                if finding not in ready:
                    report.add(finding, Outcome.FOUND)
        return due

    def _is_due(self, finding: Finding, seconds: float) -> bool:
        return seconds >= max(self._pause, finding.patience)

    async def _end(self, due: Sequence[tuple[Rule, list[Finding]]], report: Report) -> None:
        if self._dry_run:
            for finding in (each for _, findings in due for each in findings):
                report.add(finding, Outcome.WOULD_REMOVE)
            return
        async with asyncio.TaskGroup() as group:  # each has limits of its own
            for rule, findings in due:
                group.create_task(rule.end(findings, report))
