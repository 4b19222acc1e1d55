"""Protect the task from scale-in while a job runs, so that its ECS service does not stop it.

The API is rate limited: it is called once per transition. Whatever it answers, no job is delayed
or failed.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from sidecar.aws.task_protection import NoAnswer, ProtectionError, protect_task, unprotect_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.shutdown.cleanup import CleanupStack

log = structlog.get_logger()

MINUTES = 120
"""Minutes that a protection lasts unless it is renewed: so long at most after a killed agent."""
RENEW = 90 * 60.0
"""Seconds after which it is renewed."""


class Protection:
    """The scale-in protection of this task."""

    def __init__(self, agent_uri: str, *, so_mark: bool = False) -> None:
        self._agent_uri = agent_uri
        self._so_mark = so_mark
        self._maybe_on = False
        self._was_on = False

    async def renew(self, job: asyncio.Event) -> None:
        """Wait for a job, then protect the task and renew that until cancelled."""
        await job.wait()
        while True:
            self._maybe_on = True  # before the call: its answer may be lost
            try:
                await protect_task(self._agent_uri, MINUTES, so_mark=self._so_mark)
            except ProtectionError as error:
                # Most tasks belong to no service and cannot be protected.
                log.info("task.protection_failed", reason=str(error))
                if not self._was_on and not isinstance(error, NoAnswer):
                    self._maybe_on = False
                    return
            else:
                self._was_on = True
                log.info("task.protected", minutes=MINUTES)
            await asyncio.sleep(RENEW)

    async def remove(self) -> None:
        """Remove the protection, if it may be on. Raises ProtectionError if it was on for sure."""
        if not self._maybe_on:
            return
        try:
            await unprotect_task(self._agent_uri, so_mark=self._so_mark)
        except ProtectionError as error:
            if self._was_on:
                raise
            log.info("task.protection_failed", reason=str(error))
        else:
            log.info("task.protection_removed")
        self._maybe_on = False


@asynccontextmanager
async def protect_while_busy(
    agent_uri: str | None, job: asyncio.Event, cleanup_stack: CleanupStack, *, so_mark: bool = False
) -> AsyncIterator[None]:
    """Protect the task within the block from the moment a job comes. Never raises.

    A cleanup step removes the protection. `so_mark`: call on the agent's SO_MARK sockets, where
    network rules redirect all others.
    """
    if agent_uri is None:
        yield
        return
    protection = Protection(agent_uri, so_mark=so_mark)
    cleanup_stack.register_step("protection", protection.remove)
    renewing = asyncio.create_task(protection.renew(job), name="protection")
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
