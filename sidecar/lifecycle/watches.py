"""Watch for what else may end a life: three limits, a deregistered runner, a Spot notice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

import structlog

from sidecar.aws.instance_metadata import (
    REBALANCE,
    SPOT_NOTICE,
    MetadataError,
    connect,
    seconds_left,
)
from sidecar.errors import Exit, SidecarError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sidecar.runner.listener import Listener

log = structlog.get_logger()

LOOKUP_EVERY, LOOKUP_SELDOM = 60.0, 300.0
"""Seconds between two lookups of the runner at GitHub: the first pause, and the longest.

A credential has 5,000 calls an hour. A hundred idle runners would use them up at the first pace,
so the pause grows; after a lookup that did not find the runner it is the first one again.
"""
MISSES, MISSES_OF_JOB = 2, 5
"""Lookups in a row that must not find an idle runner, and one with a job.

GitHub removes an ephemeral runner when its job has ended, and the listener ends some seconds later.
"""
SPOT_EVERY = 5.0
"""Seconds between two looks for a notice, as AWS advises; the Spot notice is two minutes ahead."""


class WatchCause(Enum):
    """A cause that ends a life; a member must say with which exit code."""

    exit: Exit

    def __new__(cls, name: str, exit_code: Exit) -> WatchCause:
        """Make a member whose value is its name in the log."""
        member = object.__new__(cls)
        member._value_ = name
        member.exit = exit_code
        return member


class Cause(WatchCause):
    """A reason for which a watch ends a life, and the exit code that the life then has.

    A job that came to its end, or was cancelled, decides the exit code instead where `supervision`
    says so.
    """

    IDLE = "idle-limit", Exit.IDLE
    LIFETIME = "lifetime-limit", Exit.LIFETIME
    NO_SESSION = "session-limit", Exit.RUNNER
    DEREGISTERED = "ghost", Exit.GHOST  # named as its exit code
    JOB_LOST = "job-lost", Exit.CANCELLED
    SPOT = "spot-notice", Exit.DONE
    REBALANCE = "rebalance-recommendation", Exit.DONE


@dataclass(frozen=True, slots=True)
class Watches:
    """The things to watch; None or False is not watched."""

    idle: float | None = None
    """Seconds that the runner may wait for a job."""
    lifetime: float | None = None
    """Seconds that the life may last, jobs included."""
    session: float | None = None
    """Seconds that the listener may be without a session at GitHub."""
    spot: bool = False
    """Whether to look for a Spot notice, and for a rebalance recommendation."""
    is_registered: Callable[[], Awaitable[bool]] | None = None
    """Asks GitHub whether it knows the runner; None without a credential for that."""
    instance_uri: str = ""
    """The URL of the instance metadata service, for `spot`."""
    on_end: Callable[[float], object] = lambda _seconds: None
    """Is called with the seconds until the instance ends, where a Spot notice says them."""
    so_mark: bool = False
    """Whether it is asked on SO_MARK sockets, where network rules redirect all others."""

    def start(self, listener: Listener, born: float) -> Iterator[asyncio.Task[Cause]]:
        """Start the watches; each task ends with its cause, or never. `born` is in loop time."""
        watches: list[Awaitable[Cause]] = []
        if self.idle is not None:
            watches.append(_watch_idle(listener, self.idle))
        if self.lifetime is not None:
            watches.append(_watch_lifetime(born + self.lifetime))
        if self.session is not None:
            watches.append(_watch_session(listener, self.session))
        if self.is_registered is not None:
            watches.append(_watch_registration(listener, self.is_registered))
        if self.spot:
            for path, cause in ((SPOT_NOTICE, Cause.SPOT), (REBALANCE, Cause.REBALANCE)):
                watches.append(self._watch_notice(path, cause))
        for watch in watches:
            yield asyncio.ensure_future(watch)

    async def _watch_notice(self, path: str, cause: Cause) -> Cause:
        """End when the instance has this notice: no machine gets a SIGTERM then, nor do some tasks.

        A Spot notice says itself how much time is left, which is not the stop timeout.
        """
        async with connect(self.instance_uri, so_mark=self.so_mark) as metadata:
            while True:
                try:
                    notice = await metadata.read_notice(path)
                except MetadataError as error:
                    log.debug("spot.lookup_failed", reason=str(error))
                    notice = None
                if notice is not None:
                    if (seconds := seconds_left(notice, datetime.now(UTC))) is not None:
                        self.on_end(seconds)
                    return cause
                await asyncio.sleep(SPOT_EVERY)


async def _watch_idle(listener: Listener, limit: float) -> Cause:
    """End when the listener has waited so many seconds for a job."""
    await listener.ready_for_jobs.wait()
    try:
        async with asyncio.timeout(limit):
            await listener.job.wait()
    except TimeoutError:
        return Cause.IDLE
    return await _wait_forever()


async def _watch_lifetime(end: float) -> Cause:
    """End at this loop time."""
    await asyncio.sleep(max(0.0, end - asyncio.get_running_loop().time()))
    return Cause.LIFETIME


async def _watch_session(listener: Listener, limit: float) -> Cause:
    """End when the listener has been without a session for so many seconds (actions/runner 2.336).

    It tries for ever, whatever GitHub answers, but for a conflict. Without a session no job comes;
    a job that it has already goes on.
    """
    while True:
        await listener.session_lost.wait()
        try:
            async with asyncio.timeout(limit):
                await listener.session_open.wait()
        except TimeoutError:
            if not listener.busy:
                return Cause.NO_SESSION
            await listener.session_open.wait()


async def _watch_registration(
    listener: Listener, is_registered: Callable[[], Awaitable[bool]]
) -> Cause:
    """End when GitHub has several times in a row not known the runner (actions/runner #4617).

    An idle listener would go on waiting for jobs that can never come. One with a job has lost it:
    GitHub has given it up. A job can stop its listener's processes, or keep them busy, for ever; so
    nothing that it could forge counts as progress, but only what GitHub says.
    """
    await listener.ready_for_jobs.wait()
    misses, pause, busy = 0, LOOKUP_EVERY, listener.busy
    while misses < (MISSES_OF_JOB if busy else MISSES):
        await asyncio.sleep(LOOKUP_SELDOM if busy and not misses else pause)
        pause = min(pause + LOOKUP_EVERY, LOOKUP_SELDOM)
        if busy != listener.busy:  # a job came, or ended: counted from here on
            misses, busy = 0, not busy
            continue
        try:
            if await is_registered():
                misses = 0
            else:
                misses, pause = misses + 1, LOOKUP_EVERY
        except SidecarError as error:
            log.warning("runner.lookup_failed", reason=str(error))
    return Cause.JOB_LOST if busy else Cause.DEREGISTERED


async def _wait_forever() -> Cause:
    never: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()
    return await never
