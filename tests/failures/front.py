"""A stage whose every service can misbehave: a proxy stands in front of each.

The runner's folder is a copy of one that was laid out once, so that a stage costs little.
"""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from local import ecs_agent, faults, github
from local.github.apps import fresh_key
from local.runner import install
from tests.lives.stage import Stage, _folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HURRIED = (sys.executable, "-m", "tests.failures.hurried")
PAT = "ghp_local"
app_key = functools.cache(fresh_key)


class Front(Stage):
    """What surrounds one life; `hub` stands in front of GitHub, `task` of the ECS agent."""

    def __init__(self, stage: Stage, hub: faults.Proxy, task: faults.Proxy) -> None:
        vars(self).update(vars(stage), hub=hub, task=task)
        self.hub, self.task = hub, task

    @property
    def scope(self) -> str:
        """Where the runner is to be registered: through the proxy."""
        return f"{self.hub.url}/octo/repo"

    def proxy(self, name: str) -> faults.Proxy:
        """Return the proxy in front of "ssm", "github" or "ecs"."""
        return {"ssm": self.ssm, "sts": self.ssm, "github": self.hub, "ecs": self.task}[name]

    def environment(self) -> dict[str, str]:
        """Return what ECS would set, through the proxies; hundreds of lives go unmeasured."""
        return {
            key: value.replace(self.ecs.url, self.task.url)
            for key, value in super().environment().items()
            if not key.startswith("COVERAGE")
        }

    def app(self) -> dict[str, str]:
        """Install an App at GitHub; give the settings that make the agent it."""
        private, *numbers = app_key()
        app = self.world.apps.add("runners", *numbers)
        self.world.apps.install(app, "octo")
        return {"SIDECAR_GITHUB_APP_ID": str(app.id), "SIDECAR_GITHUB_APP_KEY": private}


@asynccontextmanager
async def fronted(moto: str, template: Path) -> AsyncIterator[Front]:
    """Put up a stage of its own for one life, in front of the SSM at `moto`."""
    async with AsyncExitStack() as down:
        enter = down.enter_async_context
        folder = _folder()
        down.callback(shutil.rmtree, folder, ignore_errors=True)
        root = shutil.copytree(template, folder / "runner", symlinks=True)
        http = await enter(aiohttp.ClientSession())
        hub = await enter(github.serving())
        agent = await enter(ecs_agent.serving())
        ssm = await enter(faults.serving(moto))
        stage = Stage(moto, ssm, hub, agent, folder, root, http)
        front = Front(
            stage, await enter(faults.serving(hub.url)), await enter(faults.serving(agent.url))
        )
        # What the runner's program and GitHub wait for is not what is looked at here.
        hub.world.settings.lost_after = hub.world.settings.session_timeout = 1.0
        hub.world.settings.acquire_timeout = 5.0
        yield front


@functools.cache
def template() -> Path:
    """Lay out the runner's program once; every stage copies it."""
    return install(Path(tempfile.mkdtemp(prefix="runner-")) / "runner")
