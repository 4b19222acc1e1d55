"""Delete the tokens that their agents leave to the workers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.errors import describe
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from launcher.record.launch import Launch
    from launcher.work.resources import Resources

log = structlog.get_logger()

ENOUGH = 10
"""Used tokens that are deleted at once; what is fewer waits for the next tick."""
MOST = 100
"""Tokens that one worker deletes before it leaves the others to the next one."""


class Deleting:
    """Deletes used tokens."""

    def __init__(self, around: Resources) -> None:
        self._around = around
        self._used = around.records.used_tokens

    async def add(self, place: str) -> None:
        """Have the token of a task deleted, with others or within a minute. Raises AwsError."""
        if await self._used.add(identity.task_id(place)) >= ENOUGH:
            await self.delete()

    async def leave_token(self, launch: Launch) -> Launch:
        """Have a used token deleted that its agent leaves to the workers. Raises AwsError."""
        if launch.keeps_token and launch.place is not None:
            if self._around.account is None:
                await self.add(launch.place)
            else:  # by an earlier version: no worker reaches it
                await self._around.store.delete(launch.place)
        return replace(launch, keeps_token=False)

    async def delete(self) -> None:
        """Delete what there is, unless another worker does. What fails is tried again later."""
        try:
            tasks = await self._used.claim()
            if not tasks:
                return
            for first in range(0, min(len(tasks), MOST), ENOUGH):
                batch = tasks[first : first + ENOUGH]
                await self._around.store.delete_many(batch)
                await self._used.remove(batch)
            await self._used.release()
        except SidecarError as error:
            log.warning("token.undeleted", reason=describe(error))
