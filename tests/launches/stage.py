"""The stage of whole launches, and what a test asserts at its end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from launcher import cli
from launcher.interruption import Interruption
from local import launches
from local.agent import PATIENCE, AgentProcess
from local.launches import COMMAND, POOLS, PREFIX, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.github.jobs import Job

__all__ = ["COMMAND", "POOLS", "PREFIX", "REPOSITORY", "Stage", "open_stage"]


@dataclass(frozen=True)
class Answer:
    """What a command printed: on standard output, and on standard error."""

    text: str
    errors: str

    def transcript(self) -> str:
        """Return both."""
        return f"{self.text}\n{self.errors}"


def _run_here(arguments: tuple[str, ...], env: dict[str, str]) -> tuple[int, Answer]:
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, env, clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = cli.main(arguments, env, Interruption())
    return code, Answer(out.getvalue(), err.getvalue())


class Stage(launches.Stage):
    """A stage that a test plays on."""

    talkative = True  # pytest shows it where a test fails

    async def run(self, *arguments: str, **settings: str) -> tuple[int, AgentProcess]:
        """Run the launcher to its end; returns its exit code and what it printed."""
        async with self.launcher(*arguments, **settings) as process:
            return await process.wait_for_end(), process

    async def run_sweep(self, *arguments: str, **settings: str) -> tuple[int, AgentProcess]:
        """Run a sweep to its end; returns its exit code and what it printed."""
        async with self.sweep(*arguments, **settings) as process:
            return await process.wait_for_end(), process

    async def ask(self, *arguments: str, **settings: str) -> tuple[int, Answer]:
        """Run `explain` or `status` to its end; an empty setting is left out.

        In this process: to load all libraries for each question costs more than the question.
        """
        env = self.environment(**self.question_settings(**settings))
        return await asyncio.to_thread(_run_here, arguments, env)

    async def wait_for_job(self, job: Job, result: str = "succeeded") -> None:
        """Wait until a job has ended, well unless another result is wanted."""
        changes = self.github.world.changes
        assert await changes.until(lambda: job.state == "completed" or None, PATIENCE)
        assert job.result == result, job.log()

    async def check_nothing_left(self, seconds: float = PATIENCE) -> None:
        """Check that no task, runner, token or message is left, and no secret was told."""
        await self.ecs.wait_for(lambda: self.ecs.living() == [], seconds)
        messages = await self.empty_queue(seconds) if self.queues.main else {}
        runners = [runner.name for runner in self.github.world.runners]
        left = {
            "runners": runners,
            "tokens": await self.find_parameters(),
            "messages": messages,
            "launches": await self.find_living() if self.queues.main else [],
        }
        assert left == {"runners": [], "tokens": [], "messages": {}, "launches": []}, left
        told = [repr(self.ecs.requests), *(each.transcript() for each in self.launchers)]
        for secret in self.find_secrets():
            assert not [text for text in told if secret in text]

    async def find_living(self) -> list[str]:
        """List the launches that are neither served nor given up."""
        return [
            name
            for name, item in (await self.find_records()).items()
            if not item.get("served") and not item.get("given_up")
        ]


@asynccontextmanager
async def open_stage(
    moto: str, *, queue: bool = False, visibility: int = 30, **settings: Any
) -> AsyncIterator[Stage]:
    """Open a stage; `settings` are SIDECAR_ variables of the image, lower case."""
    opened = launches.open_stage(moto, queue=queue, visibility=visibility, make=Stage, **settings)
    async with opened as stage:
        yield stage
