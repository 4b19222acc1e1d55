"""Let a loop's time stand still while its process does.

A call with a short deadline, to a stand-in in the same process, would else be late whenever the
process has no CPU for as long: when it goes on, the deadline is over and nobody had a turn.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

STEP = 0.05
"""Seconds by which the loop's time passes, at most, while callbacks run, and while it waits."""


class PatientClock:
    """The time of one loop."""

    def __init__(self, select: Any) -> None:
        self._select = select
        self._stood = 0.0
        """Seconds for which the process has stood still."""
        self._left = time.monotonic()
        """The moment at which the loop has waited last."""

    def time(self) -> float:
        """Return the loop's time."""
        return time.monotonic() - self._stood

    def select(self, timeout: float | None = None) -> Any:
        """Wait, in small steps, so that a long one is known for what it is."""
        begun = time.monotonic()
        self._stood += max(0.0, begun - self._left - STEP)
        # Without a time-out nobody has a deadline.
        found = self._select(timeout if timeout is None else min(timeout, STEP))
        self._left = time.monotonic()
        if timeout is not None:
            self._stood += max(0.0, self._left - begun - STEP)
        return found


@contextmanager
def patient(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let time stand still for the deadlines of a loop of asyncio's own, within the block."""
    selector: Any = loop._selector  # type: ignore[attr-defined]
    clock = PatientClock(selector.select)
    loop.time, selector.select = clock.time, clock.select  # type: ignore[method-assign]
    try:
        yield
    finally:
        del loop.time, selector.select
