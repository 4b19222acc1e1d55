"""The stop of a life: who asked for it, how urgent it is, and how much time is left."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from sidecar.errors import Stopped
from sidecar.shutdown.budget import HURRIED_STEP, SHORTEST, Budget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from sidecar.shutdown.signals import Signals

    Moment = Callable[[Budget], float]
    """A moment of the budget, which a signal may shorten."""

DRAIN, INTERRUPT, KILL = 1, 2, 3
"""What the first, the second and the third signal ask for."""


class Stop:
    """Takes stop signals, cuts the work short, and measures the stop budget (seconds).

    `on_start` is called when the budget's clock starts: the end of the life has begun.
    """

    def __init__(self, budget: float, on_start: Callable[[], object] = lambda: None) -> None:
        self.budget = Budget(budget)
        self._timeout = budget
        self._machine_end: float | None = None
        self.level = 0
        self.signal: str | None = None
        """The first signal, or the agent's own reason to stop."""
        self.signals: list[str] = []
        """Every stop signal so far, in order."""
        self._since: float | None = None
        self._on_start = on_start
        self._changed = asyncio.Event()
        self._cut: asyncio.Timeout | None = None

    @property
    def requested(self) -> bool:
        """Whether a stop signal came, or the agent itself asked to stop."""
        return self.level > 0

    @contextmanager
    def receiving(self, signals: Signals) -> Iterator[None]:
        """Take signals within the block, and first those that came before it."""
        loop = asyncio.get_running_loop()
        signals.deliver_to(lambda name: loop.call_soon_threadsafe(self.request, name))
        try:
            yield
        finally:
            signals.stop_delivery()

    def note_end(self, seconds: float) -> None:
        """Note that the machine itself ends in so many seconds: a drain then has that time.

        A signal still says that the container ends after the stop timeout, if that is earlier.
        """
        self._machine_end = asyncio.get_running_loop().time() + seconds

    def request(self, name: str) -> None:
        """Take one stop signal. Each raises the level; the first starts the budget's clock."""
        self.signals.append(name)
        if len(self.signals) == 1 and self._since is not None:
            passed = asyncio.get_running_loop().time() - self._since
            self.budget = Budget(min(self.budget.total, passed + self._timeout))
        self._raise_level(len(self.signals), name)

    def request_drain(self, reason: str) -> None:
        """Stop for a reason of the agent's own; the next signal still counts as the first."""
        self._raise_level(DRAIN, reason)

    def _raise_level(self, level: int, name: str) -> None:
        self.level = max(self.level, min(level, KILL))
        self.signal = self.signal or name
        self.start_clock()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if self._cut is not None and not self._cut.expired():  # rescheduling twice is an error
            self._cut.reschedule(asyncio.get_running_loop().time())

    def start_clock(self) -> None:
        """Start the budget's clock, unless it runs: a life that ends by itself has one, too."""
        if self._since is None:
            self._since = asyncio.get_running_loop().time()
            if self._machine_end is not None:
                left = max(SHORTEST, self._machine_end - self._since)
                self.budget = Budget(min(left, self._timeout) if self.signals else left)
            self._on_start()

    def left_until(self, moment: float) -> float:
        """Return the seconds until a moment of the budget; all of them before the clock runs."""
        if self._since is None:
            return moment
        return max(0.0, self._since + moment - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def cuts(self) -> AsyncIterator[None]:
        """Cut the block short when a stop comes: its next await raises Stopped.

        Nothing else is cut. What the block acquired is cleaned up outside it, after any stop.
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

    async def wait_for_level(self, level: int) -> None:
        """Wait until the stop is at least this urgent."""
        while self.level < level:
            await self._changed.wait()

    async def wait_for_first(
        self, *futures: asyncio.Future[Any], level: int, moment: Moment | float | None = None
    ) -> None:
        """Wait until one of `futures` is done, `moment` of the budget or `level` is reached.

        A moment that is a function of the budget follows it, where a signal shortens the budget.
        """
        level_reached = asyncio.create_task(self.wait_for_level(level))
        try:
            while await self._wait_once([*futures, level_reached], moment):
                pass
        finally:
            level_reached.cancel()
            await asyncio.wait([level_reached])

    async def _wait_once(
        self, futures: list[asyncio.Future[Any]], moment: Moment | float | None
    ) -> bool:
        """Wait for a future or the moment; return whether it was only another signal that came."""
        at = moment(self.budget) if callable(moment) else moment
        changed = asyncio.create_task(self._changed.wait())
        try:
            done, _ = await asyncio.wait(
                [*futures, changed],
                timeout=None if at is None else self.left_until(at),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            changed.cancel()
            await asyncio.wait([changed])
        return done == {changed}

    async def wait_for_steps(self, steps: Iterable[asyncio.Task[Any]], moment: Moment) -> None:
        """Wait for cleanup steps until `moment` of the budget; after a third signal a short time.

        That is the time of each: they run side by side.
        """
        running = asyncio.create_task(asyncio.wait(list(steps)))  # to cancel it cancels no step
        try:
            await self.wait_for_first(running, level=KILL, moment=moment)
            if self.hurried and not running.done():
                left = min(HURRIED_STEP, self.left_until(moment(self.budget)))
                await asyncio.wait([running], timeout=left)
        finally:
            running.cancel()
            await asyncio.wait([running])

    @property
    def hurried(self) -> bool:
        """True once a third signal came: nothing is waited for any longer than that needs."""
        return self.level >= KILL

    async def let_finish(self, future: asyncio.Future[Any]) -> None:
        """Wait for `future` during a stop: for half the budget, or until a second signal."""
        await self.wait_for_first(future, moment=lambda budget: budget.finish, level=INTERRUPT)
