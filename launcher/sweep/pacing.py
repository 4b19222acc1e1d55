"""Keep calls below a rate: whoever calls too soon waits."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace:
    """A rate of calls per second; after a rest, `burst` calls come at once."""

    def __init__(
        self, rate: float, burst: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._step = 1.0 / rate
        self._head = (burst - 1) * self._step
        self._clock = clock
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the next turn."""
        now = self._clock()
        turn = max(self._next, now - self._head)
        self._next = turn + self._step
        if turn > now:
            await asyncio.sleep(turn - now)
