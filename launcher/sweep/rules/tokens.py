"""Delete the tokens that no agent will read: their task is gone, or their hour is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher import identity
from launcher.errors import describe
from launcher.sweep.findings import Finding, Kind, Outcome
from launcher.tokens import DELETED
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from launcher.sweep.inventory import Inventory
    from launcher.sweep.parameters import Token

UNKNOWN_FOR = 120.0
"""Seconds for which AWS may not list a task that it has just started."""
HOUR = 3600.0
"""Seconds after which GitHub takes no token any more."""


class Tokens:
    """The rule for tokens."""

    def __init__(self, around: Around) -> None:
        self._around = around

    def find(self, seen: Inventory, report: Report) -> list[Finding]:
        """Find tokens whose task or machine is gone, or whose hour is over."""
        del report
        found = []
        for token in seen.tokens:
            reason = self._judge(token, seen)
            if reason is not None:
                version = f"{token.version}/{token.written:.3f}"
                found.append(Finding(Kind.TOKEN, token.name, reason, version))
        return found

    def _judge(self, token: Token, seen: Inventory) -> str | None:
        age = seen.begun - token.written
        if age > HOUR:
            return "its hour is over"
        is_gone = bool(token.place) and seen.is_gone(identity.task_id(token.place))
        return f"{token.place} is gone" if is_gone and age > UNKNOWN_FOR else None

    async def end(self, findings: Sequence[Finding], report: Report) -> None:
        """Delete them, ten with one call."""
        for first in range(0, len(findings), DELETED):
            batch = findings[first : first + DELETED]
            try:
                await self._around.parameters.delete([each.name for each in batch])
            except SidecarError as error:
                for each in batch:
                    report.add(each, Outcome.KEPT, describe(error), failed=True)
            else:
                for each in batch:
                    report.add(each, Outcome.REMOVED)
