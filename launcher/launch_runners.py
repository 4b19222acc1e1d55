"""Find and delete the runners of launches at GitHub; each has a name that its launch tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from launcher import identity
from sidecar import github

if TYPE_CHECKING:
    from launcher.record.launch import Launch

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LaunchRunners:
    """The runners of the launches of one place at GitHub. Every method raises GitHubError."""

    connection: github.Connection
    name_prefix: str

    def name(self, launch: Launch, generation: int) -> str:
        """Return the name of the runner of a placed launch's generation."""
        return identity.runner_name(self.name_prefix, launch.task, generation)

    async def find(self, name: str) -> github.Runner | None:
        """Find a runner by its name."""
        return await (await self.connection.runners()).find(name)

    async def is_online(self, launch: Launch) -> bool:
        """Ask whether the launch's runner is online, or has a job."""
        runners = await self.connection.runners()
        if launch.runner_id is not None:
            found = await runners.get(launch.runner_id)
        else:
            found = await runners.find(launch.runner_name or "")
        return found is not None and (found.online or found.busy)

    async def delete_all(self, launch: Launch) -> bool:
        """Delete the runner of each generation; False if one has a job."""
        for generation in range(1, launch.newest_generation + 1):
            if not await self.delete(self.name(launch, generation)):
                return False
        return True

    async def delete(self, name: str) -> bool:
        """Delete a runner by its name; False if it has a job."""
        runners = await self.connection.runners()
        found = await runners.find(name)
        if found is None:
            return True
        try:
            if found.busy:
                return False
            await runners.delete(found.id)
        except github.RunnerBusy:
            return False
        log.info("runner.deleted", runner=name)
        return True
