"""The agent as a process of its own, in the environment that ECS would give it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import aws
from local.demo import leftovers
from local.demo.stage import PARAMETER, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.demo.endings import Ending
    from local.demo.stage import Stage

PATIENCE = 5.0
"""Seconds that an agent gets to end when the demo itself is cut short."""


class Agent:
    """A running agent, and all it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.lines: list[str] = []
        self.said: dict[str, dict[str, Any]] = {}
        """The last event of each name."""
        self._process = process
        self._stops = 0

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Give its events as they come, until it has ended."""
        assert self._process.stdout  # noqa: S101
        async for raw in self._process.stdout:
            self.lines.append(raw.decode(errors="replace").rstrip())
            with suppress(ValueError):
                event = json.loads(self.lines[-1])
                self.said[event["event"]] = event
                yield event

    def stop(self) -> None:
        """Tell it to stop, as ECS does."""
        self._stops += 1
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for its exit code; negative is the signal that killed it."""
        return await self._process.wait()

    async def end(self) -> None:
        """End it early, in good order if it can: a second signal cancels its job at once."""
        for _ in range(self._stops, 2):
            if not await self._ends_within(0.2):
                self.stop()
        if not await self._ends_within(PATIENCE):
            self._process.kill()
            await self._process.wait()

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._process.wait()
        return self._process.returncode is not None

    @property
    def why(self) -> str:
        """What it says about its own failure, if it failed."""
        return str(self.said.get("life.failed", {}).get("reason", ""))


@asynccontextmanager
async def running(stage: Stage, ending: Ending) -> AsyncIterator[Agent]:
    """Run the agent; whoever leaves early takes it and all of its processes along."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "runner-sidecar",
        "run",
        env=environment(stage, ending),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is the demo's: it ends the agent in good order
        limit=1 << 20,
    )
    agent = Agent(process)
    try:
        yield agent
    finally:
        await agent.end()
        leftovers.kill(str(stage.folder))


def environment(stage: Stage, ending: Ending) -> dict[str, str]:
    """Write the agent's environment: the task's, the settings, nothing of the person's own."""
    if sys.platform == "win32":
        raise NotImplementedError("__main__ refuses it before")
    settings = {
        "TOKEN_PARAMETER": PARAMETER,
        "GITHUB_URL": f"{stage.github.url}/{REPOSITORY}",
        "RUNNER_DIR": str(stage.runner),
        "STOP_TIMEOUT": str(ending.stop_timeout),
        "HEALTH_ADDRESS": "127.0.0.1:0",
        "LOG_FORMAT": "json",
        "RELAY_REQUIRED": "true",
    }
    if os.geteuid() == 0:
        settings["RUNNER_USER"] = stage.user
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "AWS_REGION": aws.REGION,
        "AWS_ENDPOINT_URL_SSM": stage.aws,
        "AWS_EC2_METADATA_DISABLED": "true",
        leftovers.MARK: str(stage.folder),
        **stage.ecs.environment,
        **{f"SIDECAR_{name}": value for name, value in settings.items()},
    }
