"""The life while the listener runs: until it ends, a stop comes, or a watch has seen enough."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar.errors import Exit
from sidecar.lifecycle.drain import drain_listener, end_idle, ended
from sidecar.lifecycle.watches import Cause
from sidecar.shutdown.stop import DRAIN

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

    from sidecar.lifecycle.drain import Drain
    from sidecar.runner.listener import Listener

log = structlog.get_logger()

EXIT_CODES = {Cause.IDLE: Exit.IDLE, Cause.GHOST: Exit.GHOST}


async def supervise(drain: Drain, watching: Iterable[asyncio.Task[Cause]]) -> Exit:
    """Wait for the listener's end, however it comes; return the agent's exit code."""
    listener, stop = drain.listener, drain.stop
    cause: Cause | None = None
    with _ended_with_the_block(watching) as watches:
        while listener.running and not stop.requested:
            await stop.first(listener.ended, *watches, level=DRAIN)
            cause = _seen(watches)
            if cause is Cause.IDLE and not await end_idle(drain):
                cause = None  # a job came just then: the life goes on
            elif cause is Cause.GHOST:
                stop.start_clock()
                await ended(drain)
            elif cause is not None:
                stop.ask(cause.value)
    if listener.running:
        await drain_listener(drain)
    await listener.process.heard_out()
    return _verdict(listener, cause, stopped=stop.requested)


def _verdict(listener: Listener, cause: Cause | None, *, stopped: bool) -> Exit:
    code = listener.verdict(stopped=stopped)
    if cause is Cause.LIFETIME:
        return code if listener.had_job and code is Exit.DONE else Exit.LIFETIME
    return EXIT_CODES.get(cause, code) if cause is not None else code


@contextmanager
def _ended_with_the_block(
    watching: Iterable[asyncio.Task[Cause]],
) -> Iterator[set[asyncio.Task[Cause]]]:
    watches = set(watching)
    try:
        yield watches
    finally:
        for watch in watches:
            watch.cancel()


def _seen(watches: set[asyncio.Task[Cause]]) -> Cause | None:
    """Take the first watch that has ended out of the set, and return what it saw."""
    for watch in [one for one in watches if one.done()]:
        watches.discard(watch)
        if (error := watch.exception()) is not None:
            log.error("watch.failed", watch=watch.get_name(), reason=repr(error))
            continue
        log.warning("watch.triggered", cause=watch.result().value)
        return watch.result()
    return None
