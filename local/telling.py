"""Tell of events one after the other, as EventBridge passes them on to a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]
Tell = Callable[[Event], Awaitable[None]]


class Teller:
    """Tells of changes one after the other; on order one is lost."""

    def __init__(self, tell: Tell | None) -> None:
        self.told: list[Event] = []
        """All events, oldest first."""
        self.lose: Callable[[Event], bool] = lambda _event: False
        """Says whether an event is lost: AWS tells of changes with best effort."""
        self._tell = tell
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()

    def put(self, event: Event, times: int = 1) -> None:
        """Have an event told so many times, unless it is lost."""
        self.told.append(event)
        if self._tell is not None and not self.lose(event):
            for _ in range(times):
                self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Tell of what is noted, until cancelled."""
        while self._tell is not None:
            await self._tell(await self._waiting.get())
            self._waiting.task_done()

    async def wait_until_told(self) -> None:
        """Wait until all that is noted was told: a change is there before its event."""
        await self._waiting.join()
