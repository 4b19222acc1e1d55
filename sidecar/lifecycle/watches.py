"""What else can end a life: nothing to do, too much to do, nobody who knows of it, no machine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import aiohttp
import structlog

from sidecar.errors import SidecarError
from sidecar.net.marked_sockets import connector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from sidecar.runner.listener import Listener

log = structlog.get_logger()

GHOST_EVERY, GHOST_SELDOM = 60.0, 300.0
"""Seconds between two looks at GitHub: at first, and in the end.

A credential is granted 5,000 calls an hour, which a hundred idle runners would use up at the
first pace; a runner that GitHub did not know is looked up at the first pace again.
"""
SPOT_EVERY = 5.0
"""Seconds between two looks at the instance: the notice comes two minutes ahead."""


class Cause(Enum):
    """Why a watch ends a life."""

    IDLE = "idle-limit"
    LIFETIME = "lifetime-limit"
    GHOST = "ghost"
    SPOT = "spot-notice"


@dataclass(frozen=True, slots=True)
class Watches:
    """What to watch for; None or False is not watched."""

    idle: float | None = None
    """Seconds that a runner may wait for a job."""
    lifetime: float | None = None
    """Seconds that a life may last, jobs included."""
    spot: bool = False
    runner: Callable[[], Awaitable[bool]] | None = None
    """Whether GitHub still knows the runner; None without a credential to ask with."""
    imds: str = ""
    """The instance metadata's URL, for `spot`."""
    so_mark: bool = False
    """Whether it is asked on the agent's marked sockets: others may be sent elsewhere."""

    def begun(self, listener: Listener, born: float) -> Iterator[asyncio.Task[Cause]]:
        """Begin to watch; each task ends with its cause, or never. `born` is in loop time."""
        watching: list[Awaitable[Cause]] = []
        if self.idle is not None:
            watching.append(_idle(listener, self.idle))
        if self.lifetime is not None:
            watching.append(_lifetime(born + self.lifetime))
        if self.runner is not None:
            watching.append(_ghost(listener, self.runner))
        if self.spot:
            watching.append(_spot(self.imds, so_mark=self.so_mark))
        for watch in watching:
            yield asyncio.ensure_future(watch)


async def _idle(listener: Listener, limit: float) -> Cause:
    await listener.listened.wait()
    try:
        async with asyncio.timeout(limit):
            await listener.job.wait()
    except TimeoutError:
        return Cause.IDLE
    return await _never()


async def _lifetime(end: float) -> Cause:
    await asyncio.sleep(max(0.0, end - asyncio.get_running_loop().time()))
    return Cause.LIFETIME


async def _ghost(listener: Listener, known: Callable[[], Awaitable[bool]]) -> Cause:
    """Look for a listener that waits for jobs which can never come (actions/runner #4617)."""
    await listener.listened.wait()
    misses, pause = 0, GHOST_EVERY
    while misses < 2:
        await asyncio.sleep(pause)
        pause = min(pause + GHOST_EVERY, GHOST_SELDOM)
        try:
            if listener.busy or await known():
                misses = 0
            else:
                misses, pause = misses + 1, GHOST_EVERY
        except SidecarError as error:
            log.warning("runner.lookup_failed", reason=str(error))
    return Cause.GHOST


async def _spot(imds: str, *, so_mark: bool) -> Cause:
    """Ask the instance's metadata for a Spot notice; a task without SIGTERM learns it here."""
    timeout = aiohttp.ClientTimeout(total=2.0)
    async with aiohttp.ClientSession(
        imds, timeout=timeout, trust_env=False, connector=connector(so_mark=so_mark)
    ) as session:
        while True:
            try:
                if await _noticed(session):
                    return Cause.SPOT
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.debug("spot.lookup_failed", reason=str(error) or type(error).__name__)
            await asyncio.sleep(SPOT_EVERY)


async def _noticed(session: aiohttp.ClientSession) -> bool:
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    async with session.put("/latest/api/token", headers=ttl) as answer:
        answer.raise_for_status()
        token = {"X-aws-ec2-metadata-token": (await answer.text()).strip()}
    async with session.get("/latest/meta-data/spot/instance-action", headers=token) as answer:
        return answer.status == 200


async def _never() -> Cause:
    never: asyncio.Future[Cause] = asyncio.get_running_loop().create_future()
    return await never
