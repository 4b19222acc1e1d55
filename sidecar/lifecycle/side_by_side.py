"""Do two parts of a life side by side, where neither needs the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

T = TypeVar("T")


async def do_beside(
    work: Callable[[], Awaitable[None]], other: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Do `work` in this task and `other` beside it; return what `other` returns.

    `work` may enter what is left in this task later. The first error ends both, and is raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(other())
            await work()
    except BaseExceptionGroup as errors:
        failed = errors.exceptions[0]
    else:
        return running.result()
    raise failed
