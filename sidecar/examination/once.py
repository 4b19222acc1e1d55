"""Ask once what several checks need to know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Once(Generic[T]):
    """A question that is asked when a check first needs the answer, and never again.

    A check that runs out of time does not take the answer from the others.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._answer: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        """Return the answer. Raises what asking raises, to each check."""
        if self._answer is None:
            self._answer = asyncio.ensure_future(self._ask())
            # An error that no check waits for any more is nobody's.
            self._answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._answer)
