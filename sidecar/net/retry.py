"""Retry a call: how long to pause before the next try, and when to give up.

Each kind of peer has one policy, made of these parts: `sidecar.aws.calls.backoff` for AWS,
`sidecar.github.api.backoff` for GitHub.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina

T = TypeVar("T")
Backoff = Callable[[Exception], bool | float]
"""A backoff hook of stamina's: the seconds to wait after an error; False if it is final."""
Kinds = type[Exception] | tuple[type[Exception], ...]


async def call_with_retries(
    call: Callable[[], Awaitable[T]],
    backoff: Backoff,
    *,
    tries: int | None = None,
    seconds: float | None = None,
) -> T:
    """Call until it works, the error is final, or `tries` or `seconds` are used up.

    Raises the last error. Each retry goes to stamina's hooks, which log it.
    """
    begun = time.monotonic()
    failed: Exception | None = None
    try:
        return await call()  # most calls work at once: stamina takes longer than what it guards
    except Exception as error:  # noqa: BLE001  stamina decides about it
        failed = error
    if seconds is not None:
        seconds = max(0.001, seconds - (time.monotonic() - begun))
    async for attempt in stamina.retry_context(on=backoff, attempts=tries, timeout=seconds):
        with attempt:
            if failed is not None:
                first, failed = failed, None
                raise first
            return await call()
    raise AssertionError  # retry_context returns or raises


def growing(kinds: Kinds, *, first: float, longest: float) -> Backoff:
    """Pause after errors of `kinds`, longer each time; everything else is final.

    Each pause is random between half and all of a ceiling that doubles from `first` up to
    `longest` seconds. The jitter stays at the ceiling too: a thousand tasks that were throttled
    together must not come back together.
    """
    return _doubling(kinds, first, longest, (0.5, 1.0))


def at_least(kinds: Kinds, *, first: float, longest: float) -> Backoff:
    """Pause as `growing` does, but for the whole ceiling and up to a twelfth more."""
    return _doubling(kinds, first, longest, (1.0, 13 / 12))


def as_peer_says(seconds: Callable[[Exception], float | None]) -> Backoff:
    """Pause for as long as the peer says, and up to a second more.

    `seconds` reads that from the error; where it is None the error is final.
    """

    def pause(error: Exception) -> bool | float:
        wanted = seconds(error)
        return False if wanted is None else wanted + random.uniform(0.1, 1.0)  # noqa: S311  spread

    return pause


def first_of(*backoffs: Backoff) -> Backoff:
    """Use the first of these backoffs that does not say that the error is final."""

    def pause(error: Exception) -> bool | float:
        for backoff in backoffs:
            if (seconds := backoff(error)) is not False:
                return seconds
        return False

    return pause


def _doubling(kinds: Kinds, first: float, longest: float, jitter: tuple[float, float]) -> Backoff:
    ceiling = first

    def pause(error: Exception) -> bool | float:
        nonlocal ceiling
        if not isinstance(error, kinds):
            return False
        now, ceiling = ceiling, min(longest, 2 * ceiling)
        return random.uniform(now * jitter[0], now * jitter[1])  # noqa: S311  spread, not secrecy

    return pause
