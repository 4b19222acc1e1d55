"""A bell that wakes everyone who waits for the world to change."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """Ring it after every change; wait until a look at the world finds what is wanted."""

    def __init__(self) -> None:
        self._next = asyncio.Event()
        self.closed = False

    def ring(self) -> None:
        """Wake every waiter once."""
        self._next.set()
        self._next = asyncio.Event()

    def close(self) -> None:
        """Wake every waiter for good: the server ends."""
        self.closed = True
        self.ring()

    async def until(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """Give what `look` finds, as soon as it finds something; None after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.closed:
                    rung = self._next
                    if (found := look()) is not None:
                        return found
                    await rung.wait()
        return None
