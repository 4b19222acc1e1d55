"""The stage of whole launches: GitHub, SSM and an ECS that really starts agents."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from local import agent, aws, ecs, faults, github, leftovers
from local.agent import PATIENCE, AgentProcess
from local.stage import PAT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from local.github.jobs import Job

COMMAND = (sys.executable, "-m", "launcher")
REPOSITORY = "octo/repo"
PREFIX = "/launches/tokens"


class Stage:
    """What surrounds a launcher, and what is left of its launches."""

    def __init__(
        self,
        moto: str,
        ssm: faults.Proxy,
        plane: ecs.ControlPlane,
        front: faults.Proxy,
        hub: github.GitHub,
        folder: Path,
    ) -> None:
        self.moto = moto
        self.ssm = ssm
        self.ecs = plane
        self.front = front
        """The proxy in front of ECS, which can make calls fail."""
        self.github = hub
        self.folder = folder

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the launcher's environment; `settings` are LAUNCHER_ variables, lower case."""
        kept = [key for key in os.environ if key.startswith(("COVERAGE", "PYTHONPATH"))]
        given = {
            "github_url": f"{self.github.url}/{REPOSITORY}",
            "github_pat": PAT,
            "cluster": "runners",
            "task_definition": "runner",
            "parameter_prefix": PREFIX,
            "log_format": "json",
            **settings,
        }
        return {
            **agent.base_environment(),
            **{key: os.environ[key] for key in kept},
            leftovers.MARK: str(self.folder / "launcher"),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_ENDPOINT_URL": agent.NO_SERVICE,
            "AWS_ENDPOINT_URL_SSM": self.ssm.url,
            "AWS_ENDPOINT_URL_ECS": self.front.url,
            **{f"LAUNCHER_{name.upper()}": value for name, value in given.items()},
        }

    @asynccontextmanager
    async def launcher(self, *arguments: str, **settings: str) -> AsyncIterator[AgentProcess]:
        """Run the launcher; after the block it has ended, whatever went wrong."""
        argv, env = (*COMMAND, *arguments), self.environment(**settings)
        async with AgentProcess.start(argv, env, self.folder / "launcher") as process:
            try:
                yield process
            except BaseException:
                print(process.transcript(), file=sys.stderr)  # pytest shows it
                raise

    async def run(self, *arguments: str, **settings: str) -> tuple[int, AgentProcess]:
        """Run the launcher to its end; returns its exit code and what it printed."""
        async with self.launcher(*arguments, **settings) as process:
            return await process.wait_for_end(), process

    def queue_job(self, *labels: str, name: str = "build") -> Job:
        """Queue a job that asks for these labels."""
        wanted = {"name": name, "labels": list(labels), "steps": [{"run": "echo it ran"}]}
        return self.github.world.jobs.add(wanted, self.github.world.now())

    async def wait_for_job(self, job: Job) -> None:
        """Wait until a job has ended well."""
        changes = self.github.world.changes
        assert await changes.until(lambda: job.state == "completed" or None, PATIENCE)
        assert job.result == "succeeded", job.log()

    async def find_parameters(self) -> list[str]:
        """List the token parameters that are there now."""
        return await asyncio.to_thread(aws.names, self.moto, PREFIX)

    async def check_nothing_left(self) -> None:
        """Check that no task, no runner and no token is left, and no secret was told to ECS."""
        await self.ecs.wait_for(lambda: self.ecs.living() == [])
        runners = [runner.name for runner in self.github.world.runners]
        left = {"runners": runners, "tokens": await self.find_parameters()}
        assert left == {"runners": [], "tokens": []}, left
        told = repr(self.ecs.requests)
        for secret in [PAT, *(token.value for token in self.github.world.tokens)]:
            assert secret not in told


@asynccontextmanager
async def open_stage(moto: str, **agent_settings: Any) -> AsyncIterator[Stage]:
    """Open a stage; `agent_settings` are SIDECAR_ variables of the image, lower case."""
    kept = {key: os.environ[key] for key in os.environ if key.startswith("COVERAGE")}
    image = {f"SIDECAR_{key.upper()}": value for key, value in agent_settings.items()} | kept
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(agent.make_folder("launch-"))
        ssm = await stack.enter_async_context(faults.serving(moto))
        hub = await stack.enter_async_context(github.serving(pats=[PAT]))
        host = ecs.AgentHost(folder, ssm.url, image)
        plane = await stack.enter_async_context(ecs.serving(host.start))
        front = await stack.enter_async_context(faults.serving(plane.url))
        try:
            yield Stage(moto, ssm, plane, front, hub, folder)
        except BaseException:
            for task in plane.tasks:
                print(task.arn, task.process.transcript() if task.process else "", file=sys.stderr)
            raise
