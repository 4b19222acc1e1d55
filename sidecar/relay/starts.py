"""Count the starts of containers: until the engine tells, an address may be another's by now."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_EVENT_LATENCY = 2.0
"""Seconds within which the engine's event of a start comes after its answer."""


class Starts:
    """The requests by which containers get addresses: starts, and joins of networks."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self.count = 0
        """The number of starts that have begun, and of those that have ended, together."""
        self.under_way = 0
        self._ended_at = float("-inf")

    def begin(self) -> None:
        """Note that a container is about to get an address."""
        self.under_way += 1
        self.count += 1

    def end(self) -> None:
        """Note that it has it; the engine's event says so a moment later."""
        self.under_way -= 1
        self.count += 1
        self._ended_at = self._time()

    @property
    def are_recent(self) -> bool:
        """Whether the engine is about to tell of a start."""
        return self.under_way > 0 or self._time() - self._ended_at < _EVENT_LATENCY
