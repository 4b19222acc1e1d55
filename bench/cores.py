"""Choose the core for a program, so that what is measured and its load do not share one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def pinned(place: int) -> Iterator[None]:
    """Keep this thread, and every program that it starts in the block, on one core.

    `place` counts the cores that the bench may use: 0 for what is measured, -1 for the load.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[place]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
