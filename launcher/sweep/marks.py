"""Remember what a look has found, so that nothing is ended that was seen only once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Marks(Protocol):
    """The memory of earlier looks. Every call raises AwsError, in one of its kinds."""

    async def claim(self, seconds: float) -> bool:
        """Begin a look, for so many seconds at last; False where another process looks."""

    async def release(self) -> None:
        """End the look."""

    async def look(self, keys: Collection[str], now: float) -> Mapping[str, float]:
        """Remember what this look has found, and nothing else; return when each was seen first."""


class MemoryMarks:
    """Remembers in this process."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    async def claim(self, seconds: float) -> bool:  # noqa: ARG002  nobody else has this memory
        """Begin a look."""
        return True

    async def release(self) -> None:
        """Do nothing."""

    async def look(self, keys: Collection[str], now: float) -> Mapping[str, float]:
        """Remember the keys."""
        self._seen = {key: self._seen.get(key, now) for key in keys}
        return self._seen
