"""Read all launches of a table at once, for whoever looks for what was forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.record.items import LAUNCH, OF_LAUNCH, OF_TASK, read_launch
from launcher.record.table import EXPIRES, KEY

if TYPE_CHECKING:
    from launcher.record.launch import Launch
    from launcher.record.table import Table


@dataclass(frozen=True, slots=True)
class Entry:
    """A launch, and when it was written last."""

    launch: Launch
    written: float
    """In seconds since 1970."""


@dataclass(slots=True)
class Ledger:
    """All launches of a table, and whose each task is."""

    entries: dict[str, Entry] = field(default_factory=dict)
    """By the launch's id."""
    tasks: dict[str, str] = field(default_factory=dict)
    """The id of the launch of each task or machine, by the task's own id."""

    def find(self, task: str) -> Launch | None:
        """Find the launch that a task, by its id, belongs to."""
        entry = self.entries.get(self.tasks.get(task, ""))
        return entry.launch if entry is not None else None


async def read_ledger(table: Table, kept: float) -> Ledger:
    """Read the table. A record expires `kept` seconds after it was written. Raises AwsError."""
    ledger = Ledger()
    async for item in table.read_all((OF_LAUNCH, OF_TASK)):
        key = item[KEY]["S"]
        if key.startswith(OF_TASK) and LAUNCH in item:
            ledger.tasks[key.removeprefix(OF_TASK)] = item[LAUNCH]["S"]
        elif key.startswith(OF_LAUNCH):
            written = float(item[EXPIRES]["N"]) - kept if EXPIRES in item else 0.0
            ledger.entries[key.removeprefix(OF_LAUNCH)] = Entry(read_launch(item), written)
    return ledger
