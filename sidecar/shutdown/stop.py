"""A stop heard once, and the budget it starts.

ECS sends SIGTERM and, `stopTimeout` seconds later, SIGKILL. Everything that has to happen in
between is measured from the moment the signal was heard.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.errors import Stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sidecar.shutdown.signals import Signals

DRAIN, INTERRUPT, KILL = 1, 2, 3
"""What the first, the second and the third signal ask for."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The stop timeout in seconds, cut into its stages; each a moment after the signal."""

    total: float

    @property
    def interrupt(self) -> float:
        """Until here a running job goes on: the runner itself takes up to 10 s to cancel one."""
        return max(0.0, self.total - 25.0)

    @property
    def kill(self) -> float:
        """From here on what is left of the runner is killed."""
        return max(0.8 * self.total, self.total - 3.0)

    @property
    def end(self) -> float:
        """By here the farewell is over; what remains is for the interpreter to leave."""
        return self.kill + 0.4 * (self.total - self.kill)


FINISHING_SHARE = 0.5
"""The part of the budget in which something that is better finished than cut may finish."""


class Stop:
    """Hears stop signals, cuts the work, and tells how much of the budget is left."""

    def __init__(self, budget: float) -> None:
        self.budget = Budget(budget)
        self.level = 0
        self.signal: str | None = None
        self._signals = 0
        self._since: float | None = None
        self._changed = asyncio.Event()
        self._cut: asyncio.Timeout | None = None

    @property
    def requested(self) -> bool:
        """Whether any stop signal was heard, or the agent itself asked to stop."""
        return self.level > 0

    @contextmanager
    def hearing(self, signals: Signals) -> Iterator[None]:
        """Take the signals within the block, those that came before it included."""
        loop = asyncio.get_running_loop()
        signals.tell(lambda name: loop.call_soon_threadsafe(self.request, name))
        try:
            yield
        finally:
            signals.forget()

    def request(self, name: str) -> None:
        """Take one stop signal: the first cuts the work and starts the clock."""
        self._signals += 1
        self._demand(self._signals, name)

    def ask(self, cause: str) -> None:
        """Stop for a reason of the agent's own; the first signal after it is still the first."""
        self._demand(DRAIN, cause)

    def _demand(self, level: int, name: str) -> None:
        self.level = max(self.level, min(level, KILL))
        self.signal = self.signal or name
        self.start_clock()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if self._cut is not None and not self._cut.expired():  # cut once is cut
            self._cut.reschedule(asyncio.get_running_loop().time())

    def start_clock(self) -> None:
        """Start the budget's clock if nothing has: a life that ends by itself is bounded too."""
        if self._since is None:
            self._since = asyncio.get_running_loop().time()

    def left_until(self, moment: float) -> float:
        """Return the seconds left until `moment` of the budget; all of it before the clock runs."""
        if self._since is None:
            return moment
        return max(0.0, self._since + moment - asyncio.get_running_loop().time())

    async def reached(self, level: int) -> None:
        """Wait until the stop is at least as urgent as `level`."""
        while self.level < level:
            await self._changed.wait()

    @asynccontextmanager
    async def cuts(self) -> AsyncIterator[None]:
        """Let a stop cut the block short: it raises Stopped at its next await.

        Only the block: what was acquired in it is given back outside, where no stop reaches.
        """
        try:
            async with asyncio.timeout(0 if self.requested else None) as self._cut:
                yield
        except TimeoutError:
            if not self.requested:
                raise
            message = f"stopped by {self.signal}"
            raise Stopped(message) from None
        finally:
            self._cut = None

    async def finished(self, future: asyncio.Future[Any]) -> None:
        """Let what `future` stands for finish: for half the budget, or until a second signal."""
        await self.first(future, moment=FINISHING_SHARE * self.budget.total, level=INTERRUPT)

    async def first(
        self, *futures: asyncio.Future[Any], level: int, moment: float | None = None
    ) -> None:
        """Wait for the first of: one of `futures`, a `moment` of the budget, a stop's `level`."""
        level_reached = asyncio.create_task(self.reached(level))
        try:
            await asyncio.wait(
                [*futures, level_reached],
                timeout=None if moment is None else self.left_until(moment),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            level_reached.cancel()
            await asyncio.wait([level_reached])
