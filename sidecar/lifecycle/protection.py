"""Scale-in protection: an ECS service does not stop a task that is running a job.

The ECS agent's endpoint ($ECS_AGENT_URI) takes it for the task itself. It is asked once per
transition, since it is rate-limited, and whatever it answers, no job is delayed or failed.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog

from sidecar.net.marked_sockets import connector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

CALL = aiohttp.ClientTimeout(total=5.0)
MINUTES = 120
"""How long a protection lasts if nobody renews it: at most this long after a dead agent."""
RENEW = 90 * 60.0
"""Seconds after which it is renewed."""


class Refused(Exception):
    """The ECS agent did not do it; the text says why."""


class Unanswered(Refused):
    """The ECS agent may have done it: its answer did not come."""


class Protection:
    """One task's protection."""

    def __init__(self, agent_uri: str, *, so_mark: bool = False) -> None:
        self._marked = so_mark
        self._url = f"{agent_uri}/task-protection/v1/state"
        self._on = False  # or may be
        self._known = False

    async def lift(self) -> None:
        """Take it off, if it is on. Raises Refused, where it is known that it was on."""
        if not self._on:
            return
        try:
            await self._put({"ProtectionEnabled": False})
        except Refused as refused:
            if self._known:
                raise
            log.info("task.protection_failed", reason=str(refused))
        else:
            log.info("task.protection_removed")
        self._on = False

    async def keep(self, job: asyncio.Event) -> None:
        """Put it on as soon as there is a job, and renew it until cut short."""
        await job.wait()
        while True:
            self._on = True  # before the call: its answer may be lost
            try:
                await self._put({"ProtectionEnabled": True, "ExpiresInMinutes": MINUTES})
            except Refused as refused:
                # Most tasks belong to no service, and need none.
                log.info("task.protection_failed", reason=str(refused))
                if not self._known and not isinstance(refused, Unanswered):
                    self._on = False
                    return
            else:
                self._known = True
                log.info("task.protected", minutes=MINUTES)
            await asyncio.sleep(RENEW)

    async def _put(self, body: dict[str, Any]) -> None:
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=CALL, trust_env=False, connector=connector(so_mark=self._marked)
                ) as session,
                session.put(self._url, json=body, allow_redirects=False) as answer,
            ):
                said = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unanswered(str(error) or type(error).__name__) from error
        if not isinstance(said, dict) or "protection" not in said:
            raise Refused(_reason(said))


def _reason(said: object) -> str:
    wrong = (said.get("error") or said.get("failure")) if isinstance(said, dict) else None
    words = map(wrong.get, ("Code", "Reason", "Message")) if isinstance(wrong, dict) else ()
    return ": ".join(str(word) for word in words if word) or "an answer without a protection"


@asynccontextmanager
async def protecting(
    agent_uri: str | None, job: asyncio.Event, run_cleanup: CleanupStack, *, so_mark: bool = False
) -> AsyncIterator[None]:
    """Protect the task while there is a job; taken off in the farewell. Never raises.

    `marked`: asked on the agent's marked sockets, where others may be sent elsewhere.
    """
    if agent_uri is None:
        yield
        return
    protection = Protection(agent_uri, so_mark=so_mark)
    run_cleanup.register_step("protection", protection.lift)
    keeping = asyncio.create_task(protection.keep(job), name="protection")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
