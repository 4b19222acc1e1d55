"""Hold the lease of a launch while a message is handled, and write down each change of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.record.table import Outdated
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from launcher.record.launch import Launch
    from launcher.record.records import Records

log = structlog.get_logger()


class Held:
    """A launch whose lease is ours: the journal of its stages."""

    def __init__(self, records: Records, launch: Launch) -> None:
        self._records = records
        self.launch = launch
        """As it is in the table."""

    def note(self, launch: Launch) -> None:
        """Change the launch; it is written with the next change, or as its lease ends."""
        self.launch = launch

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


class hold:  # noqa: N801  it is read as a verb
    """Claim a launch, and end the lease on leaving; None where somebody else carries it on."""

    def __init__(self, records: Records, launch: Launch) -> None:
        self._records = records
        self._launch = launch
        self._held: Held | None = None

    async def __aenter__(self) -> Held | None:
        """Claim the launch."""
        claimed = await self._records.claim(self._launch)
        self._held = Held(self._records, claimed) if claimed is not None else None
        return self._held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """End the lease; after an error that fails silently, and the lease ends by itself."""
        if self._held is None or isinstance(error, Outdated):  # then it is somebody else's
            return
        if error is None:
            await self._records.release(self._held.launch)
        elif isinstance(error, SidecarError):
            await _release(self._records, self._held)


async def _release(records: Records, held: Held) -> None:
    """End the lease; where that fails too, it ends by itself."""
    try:
        await records.release(held.launch)
    except SidecarError as error:
        log.warning("lease.kept", launch=held.launch.id, reason=str(error))
