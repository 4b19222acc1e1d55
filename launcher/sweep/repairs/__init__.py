"""Give the workers what they have not got, or have lost: lost deliveries, and jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from launcher.sweep.findings import Report
    from launcher.sweep.inventory import Inventory


class Repair(Protocol):
    """A repair of one kind; nothing is ended by it, so one look is enough."""

    async def repair(self, seen: Inventory, report: Report, *, dry_run: bool) -> None:
        """Find what is missing, and send it again. Raises SidecarError."""
