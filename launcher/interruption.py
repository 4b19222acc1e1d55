"""Take SIGINT and SIGTERM: they cut the work short, and never the cleanup.

Imports almost nothing: the handlers come before all that is heavy.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedWork(Exception):
    """A signal cut the work short."""


class Interruption:
    """The signals that came while it is entered; from its end on they are ignored.

    What follows the end is only the interpreter's own exit, and a late signal must not turn a
    clean exit into a death by signal.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        """The first one."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cut: asyncio.Timeout | None = None

    def __enter__(self) -> Interruption:
        """Install the handlers."""
        for number in SIGNALS:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Ignore the signals."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, _frame: object) -> None:
        self.signal = self.signal or signal.Signals(number).name
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cut_now)

    def _cut_now(self) -> None:
        if self._cut is not None and not self._cut.expired():  # rescheduling twice is an error
            self._cut.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def cuts(self) -> AsyncIterator[None]:
        """Cut the block short when a signal comes, or came: its next await raises.

        Raises InterruptedWork, also where the block had done its work already.
        """
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as self._cut:
                if self.signal is not None:
                    self._cut_now()
                yield
        except TimeoutError:
            if self.signal is None:
                raise
        finally:
            self._cut = None
        if self.signal is not None:
            raise InterruptedWork(f"interrupted by {self.signal}")
