"""Ask AWS for a task or a machine, so that a lost answer is never taken for a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.places import Later, Placement, Why
from sidecar.aws.calls import RateLimited, TransientError, backoff
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def ask_with_retries(ask: Callable[[], Awaitable[Placement]], tries: int) -> Placement:
    """Ask up to `tries` times; `ask` sends the same request each time.

    Raises TransientError if the outcome is not known, also where a throttle came last.
    """
    is_lost = False

    async def once() -> Placement:
        nonlocal is_lost
        try:
            return await ask()
        except RateLimited:
            raise
        except TransientError:
            is_lost = True
            raise

    try:
        return await call_with_retries(once, backoff(), tries=tries)
    except RateLimited as error:
        if is_lost:  # an earlier one may have started it
            raise TransientError(str(error)) from error
        return Later(Why.THROTTLE, str(error))
