"""Hold the lease of a launch while a message is handled, and write down each change of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.record import Outdated
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.record import Launch, Records

log = structlog.get_logger()


class Held:
    """A launch whose lease is ours: the journal of its stages."""

    def __init__(self, records: Records, launch: Launch) -> None:
        self._records = records
        self.launch = launch
        """As it is in the table."""

    async def save(self, launch: Launch) -> Launch:
        """Write the launch, and first whose task it is. Raises Outdated, AwsError."""
        if launch == self.launch:
            return launch
        if launch.place is not None and launch.place != self.launch.place:
            await self._records.index(identity.task_id(launch.place), launch.id)
        self.launch = await self._records.save(launch)
        return self.launch

    async def save_with(self, launch: Launch, other: Held, changed: Launch) -> None:
        """Write this launch and another held one, all or nothing, and whose their tasks are now."""
        tasks = {identity.task_id(each.place): each.id for each in (launch, changed) if each.place}
        written = await self._records.save_together([launch, changed], tasks)
        self.launch, other.launch = written

    async def give_places(self) -> Launch:
        """Take the launch out of the counters."""
        self.launch = await self._records.give_places(self.launch)
        return self.launch

    async def take_places(self, limits: dict[str, int]) -> Launch:
        """Count the launch. Raises Full."""
        self.launch = await self._records.take_places(self.launch, limits)
        return self.launch


@asynccontextmanager
async def hold(records: Records, launch: Launch) -> AsyncIterator[Held | None]:
    """Claim a launch, and end the lease afterwards; None where somebody else carries it on."""
    claimed = await records.claim(launch)
    if claimed is None:
        yield None
        return
    held = Held(records, claimed)
    try:
        yield held
    except Outdated:
        raise  # the lease is somebody else's
    except SidecarError:
        await _release(records, held)
        raise
    await records.release(held.launch)


async def _release(records: Records, held: Held) -> None:
    """End the lease; where that fails too, it ends by itself."""
    try:
        await records.release(held.launch)
    except SidecarError as error:
        log.warning("lease.kept", launch=held.launch.id, reason=str(error))
