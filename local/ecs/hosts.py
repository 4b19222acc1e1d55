"""Run the agents of tasks."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import agent
from local.runner import install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from local import ecs_agent


@dataclass
class AgentHost:
    """The host of the tasks' agents: each has its own folder and its own runner's program."""

    folder: Path
    """A folder that every user may read and write."""
    ssm: str
    """The URL of SSM."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the image sets in each container."""
    misbehaves: Mapping[str, Any] = field(default_factory=dict)
    """How the runner's program misbehaves in each (local/README.md)."""

    def __post_init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def _install(self, folder: Path) -> Path:
        """Copy the runner's program from the image, which is made once."""
        image = self.folder / ".image"
        async with self._one_at_a_time:
            if not image.exists():
                made = await asyncio.to_thread(install, self.folder / ".making")
                made.rename(image)
        return Path(await asyncio.to_thread(shutil.copytree, image, folder))

    async def prepare(self) -> None:
        """Make the image now, not with the first task."""
        await self._install(self.folder / ".unused")

    @asynccontextmanager
    async def start(
        self, ecs: ecs_agent.Agent, environment: Mapping[str, str]
    ) -> AsyncIterator[agent.AgentProcess]:
        """Start the agent of one task; after the block nothing of it is left."""
        folder = self.folder / ecs.task.id
        folder.mkdir(mode=0o777)
        folder.chmod(0o1777)  # whatever the umask is
        runner = await self._install(folder / "runner")
        if self.misbehaves:
            agent.misbehave(runner, **self.misbehaves)
        base = agent.environment(
            ssm=self.ssm,
            ecs=ecs.environment,
            github_url="",
            parameter="",
            runner_folder=runner,
            folder=folder,
        )
        env = {**base, **self.environment, **environment}
        async with agent.AgentProcess.start(agent.COMMAND, env, folder) as process:
            yield process
