"""Write down what is about to be done for a launch, before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from launcher.record.launch import Launch


class Journal(Protocol):
    """The store in which a launch is written down before anything is done for it."""

    async def save(self, launch: Launch) -> Launch:
        """Write the launch; return it as it is written."""


class MemoryJournal:
    """Keeps launches for a process that has no table: what it did is known until it ends."""

    def __init__(self) -> None:
        self._kept: dict[str, Launch] = {}

    async def save(self, launch: Launch) -> Launch:
        """Keep the launch."""
        self._kept[launch.id] = launch
        return launch

    def latest(self, launch: Launch) -> Launch:
        """Return the launch as it was kept last."""
        return self._kept.get(launch.id, launch)
