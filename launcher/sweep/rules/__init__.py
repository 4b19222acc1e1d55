"""Say of each kind of thing what is an orphan, and end it: one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.sweep.findings import Finding, Report
    from launcher.sweep.inventory import Inventory


class Rule(Protocol):
    """A rule for one kind of thing."""

    def find(self, seen: Inventory, report: Report) -> list[Finding]:
        """Find the orphans; what cannot be judged stands in the report."""

    async def end(self, findings: Sequence[Finding], report: Report) -> None:
        """End orphans that were seen twice; what cannot be ended stands in the report."""
