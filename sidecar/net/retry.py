"""How long to wait before the next try: one jittered, growing pause for everybody."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def growing(
    kinds: type[Exception] | tuple[type[Exception], ...], *, first: float, longest: float
) -> Callable[[Exception], bool | float]:
    """Make a stamina backoff hook: seconds to wait after one of `kinds`, False for all else.

    Each pause is random between half and all of a ceiling that doubles from `first` up to
    `longest` seconds. The jitter stays at the ceiling too: a thousand tasks that were throttled
    together must not come back together.
    """
    ceiling = first

    def pause(error: Exception) -> bool | float:
        nonlocal ceiling
        if not isinstance(error, kinds):
            return False
        now, ceiling = ceiling, min(longest, 2 * ceiling)
        return random.uniform(now / 2, now)  # noqa: S311  spread, not secrecy

    return pause
