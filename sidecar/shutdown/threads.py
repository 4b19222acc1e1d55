"""Run work in a thread that ends soon after nobody waits for it any more."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    IsStopped = Callable[[], bool]

T = TypeVar("T")


async def run_in_thread(work: Callable[[IsStopped], T]) -> T:
    """Run `work` in a thread and return its result.

    It gets a function that returns True once the caller was cancelled, and should then end: the
    process waits for its threads before it exits.
    """
    stopped = threading.Event()
    try:
        return await asyncio.to_thread(work, stopped.is_set)
    finally:
        stopped.set()
