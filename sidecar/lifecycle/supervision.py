"""Supervise the listener until it ends, a stop comes, or a watch ends the life."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import Exit
from sidecar.lifecycle.drain import drain_listener, end_if_idle, end_listener
from sidecar.lifecycle.watches import Cause
from sidecar.shutdown.stop import DRAIN

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

    from sidecar.lifecycle.drain import Drain
    from sidecar.runner.listener import Listener
    from sidecar.shutdown.stop import Stop

log = structlog.get_logger()


async def supervise(drain: Drain, watches: Iterable[asyncio.Task[Cause]]) -> Exit:
    """Wait until the listener has ended, for whatever reason; return the agent's exit code."""
    listener, stop = drain.listener, drain.stop
    cause: Cause | None = None
    with _cancel_after(watches) as running:
        while listener.running and not stop.requested:
            await stop.wait_for_first(listener.ended, *running, level=DRAIN)
            cause = _take_cause(running)
            if cause in (Cause.IDLE, Cause.REBALANCE) and not await end_if_idle(drain):
                # A job came just then, or runs: the life goes on. A recommendation only says that
                # an interruption is likelier; most of these jobs come to their end.
                cause = None
            elif cause in (Cause.DEREGISTERED, Cause.NO_SESSION, Cause.JOB_LOST):
                # No job can come, or GitHub has given it up: there is nothing to be drained.
                listener.session_limit_reached = cause is Cause.NO_SESSION
                stop.start_clock()
                await end_listener(drain)
            elif cause is not None:
                stop.request_drain(cause.value)
    _note_stop_of_all(listener, stop)
    if listener.running:
        await drain_listener(drain)
    _note_stop_of_all(listener, stop)
    await listener.process.read_last_output()
    return _choose_exit(listener, cause, stopped=stop.requested)


def _note_stop_of_all(listener: Listener, stop: Stop) -> None:
    """Note that the listener got the stop itself, if so: its end is then the stop's doing."""
    listener.interrupted |= not host.SIGNALS_TO_ALL.isdisjoint(stop.signals)


def _choose_exit(listener: Listener, cause: Cause | None, *, stopped: bool) -> Exit:
    """Return the listener's exit code, or the cause's; mypy demands a case for every cause."""
    code = listener.choose_exit_code(stopped=stopped)
    match cause:
        case Cause.IDLE | Cause.NO_SESSION | Cause.DEREGISTERED | Cause.REBALANCE | Cause.JOB_LOST:
            return cause.exit
        case Cause.LIFETIME:
            return code if listener.had_job and code is Exit.DONE else cause.exit
        case Cause.SPOT:
            return code if code is not Exit.DONE else cause.exit
        case None:
            return code


@contextmanager
def _cancel_after(
    watches: Iterable[asyncio.Task[Cause]],
) -> Iterator[set[asyncio.Task[Cause]]]:
    """Cancel the watches that still run when the block ends."""
    running = set(watches)
    try:
        yield running
    finally:
        for watch in running:
            watch.cancel()


def _take_cause(watches: set[asyncio.Task[Cause]]) -> Cause | None:
    """Remove the watches that failed, and the first that ended; return its cause."""
    for watch in [one for one in watches if one.done()]:
        watches.discard(watch)
        if (error := watch.exception()) is not None:
            log.error("watch.failed", watch=watch.get_name(), reason=repr(error))
            continue
        log.warning("watch.triggered", reason=watch.result().value)
        return watch.result()
    return None
