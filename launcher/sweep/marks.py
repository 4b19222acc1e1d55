"""Remember what a look has found, so that nothing is ended that was seen only once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Marks(Protocol):
    """The memory of earlier looks."""

    async def look(self, keys: Collection[str], now: float) -> Mapping[str, float]:
        """Remember what this look has found, and forget the rest; return when each was seen first.

        Raises AwsError.
        """


class MemoryMarks:
    """Remembers in this process."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    async def look(self, keys: Collection[str], now: float) -> Mapping[str, float]:
        """Remember the keys."""
        self._seen = {key: self._seen.get(key, now) for key in keys}
        return self._seen
