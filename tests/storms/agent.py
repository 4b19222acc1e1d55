"""The agent as the launch side sees it: it reads its parameter, registers, runs one job, ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sidecar.aws import sealing
from sidecar.errors import Exit
from tests.storms.calls import loop_time
from tests.storms.github import CANARY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.storms.calls import Weather
    from tests.storms.ecs import Task
    from tests.storms.github import GitHub, Job, Runner
    from tests.storms.machines import Machine
    from tests.storms.ssm import Ssm

    Home = Task | Machine
    """The place where an agent lives."""

KILLED = 137
FOR_EVER = 1e6
"""Seconds."""


@dataclass
class Agents:
    """Lives of agents in tasks."""

    weather: Weather
    ssm: Ssm
    github: GitHub
    prefix: str
    idle: float = 300.0
    wait: float = 300.0
    """Seconds for which its parameter is awaited."""
    wrong: list[str] = field(default_factory=list)
    """What happened that may never happen."""
    mishaps: float = 0.0
    """How many agents die without a word, as a fraction."""
    hangs: float = 0.0
    """How many never begin, and live until somebody stops them."""
    clings: float = 0.0
    """How many wait for a job without an end."""
    cut: Callable[[Home], None] = lambda _: None
    """Called with a task or a machine whose job is cut off by a stop."""

    async def live(self, task: Home) -> int | None:
        """Live in a task; return the container's exit code."""
        if self._draws(self.hangs):
            self.weather.note(f"the agent of {task.id[:8]} hangs")
            await task.asked_to_stop.wait()
            return KILLED
        dies = self._draw_death()
        try:
            async with asyncio.timeout(dies):
                return await self._live(task)
        except TimeoutError:
            await self.lose(task)
            return KILLED

    async def lose(self, task: Home, after: float = 0.0) -> None:
        """Let an agent die without a word; GitHub has its job fail after some seconds."""
        runner = self._runner(task)
        self.weather.note(f"the agent of {task.id[:8]} dies")
        if runner is None:
            return
        self.github.disconnect(runner)
        if after:
            await asyncio.sleep(after)
        if runner.job is not None:
            self.github.complete(runner.job, "failure")

    def _draw_death(self) -> float | None:
        if loop_time() < self.weather.calm and self.weather.chance.random() < self.mishaps:
            return self.weather.chance.uniform(0, 120)
        return None

    def _draws(self, fraction: float) -> bool:
        """Draw whether something happens; a fraction of 0 draws nothing."""
        happens = fraction > 0 and self.weather.chance.random() < fraction
        return happens and loop_time() < self.weather.calm

    async def _live(self, task: Home) -> int:
        name = f"{self.prefix}/{task.id}"
        document = await self._read(task, name)
        if document is None:
            return int(Exit.STOPPED if task.asked_to_stop.is_set() else Exit.TOKEN)
        await self._pause(task, 0.5, 4)  # the runner is configured
        runner = self._register(document)
        if runner is None:
            self.ssm.parameters.pop(name, None)
            return int(Exit.REGISTRATION)
        task.runner = runner.name
        if not document.get("keep"):
            self.ssm.parameters.pop(name, None)
        if not task.asked_to_stop.is_set() and not runner.deleted:
            self.github.connect(runner)
        return await self._serve(task, runner, document)

    async def _read(self, task: Home, name: str) -> dict[str, Any] | None:
        until = loop_time() + self.wait
        pause = 1.0
        while loop_time() < until and not task.asked_to_stop.is_set():
            if (held := self.ssm.parameters.get(name)) is not None:
                return read_document(held.value, task)
            await self._pause(task, pause / 2, pause)
            pause = min(15.0, pause * 2)
        return None

    def _register(self, document: dict[str, Any]) -> Runner | None:
        if (blob := document.get("jit_config")) is not None:
            runner = self.github.runners.get(int(blob.rpartition("-")[2]))
            return None if runner is None or runner.online else runner
        return self.github.register(document["token"], document["name"], document["labels"])

    async def _serve(self, task: Home, runner: Runner, document: dict[str, Any]) -> int:
        idle = FOR_EVER if self._draws(self.clings) else self.idle
        await self._first(task, runner.given.wait(), idle)
        if runner.job is not None:
            return await self._work(task, runner.job, document)
        if runner.deleted:
            return int(Exit.GHOST)
        stopped = task.asked_to_stop.is_set()
        if runner.just_in_time:
            self.github.disconnect(runner)  # it has nothing to remove itself with
        else:
            self.github.remove(runner)
        return int(Exit.DONE if stopped else Exit.IDLE)

    async def _work(self, task: Home, job: Job, document: dict[str, Any]) -> int:
        self._check_token(task)
        if not _admits(document.get("policy"), job):
            self.weather.note(f"the hook of {task.id[:6]} refuses job {job.id}")
            self.github.complete(job, "failure")
            return int(Exit.DONE)
        await self._first(task, job.done.wait(), job.seconds)
        cut = task.asked_to_stop.is_set() and not job.over
        if cut:
            self.cut(task)
        self.github.complete(job, "failure" if cut else "success")
        return int(Exit.CANCELLED if cut else Exit.DONE)

    def _check_token(self, task: Home) -> None:
        """Note a token that a job with the task's role can read, and use for other runners."""
        held = self.ssm.parameters.get(f"{self.prefix}/{task.id}")
        if held is not None and '"token"' in held.value:
            self.wrong.append(f"the job of {task.id[:6]} can read a registration token")

    async def _pause(self, task: Home, least: float, most: float) -> None:
        await self._first(task, asyncio.sleep(3600), self.weather.chance.uniform(least, most))

    async def _first(self, task: Home, other: Awaitable[Any], seconds: float) -> None:
        """Wait for one of: a stop, the other thing, the end of the time."""
        waits = [asyncio.ensure_future(task.asked_to_stop.wait()), asyncio.ensure_future(other)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    def _runner(self, task: Home) -> Runner | None:
        found = (it for it in self.github.runners.values() if it.name == task.runner)
        return next(found, None)


def read_variables(task: Home) -> dict[str, str]:
    """Read the variables that a task's containers were started with."""
    containers = task.request["overrides"]["containerOverrides"]
    return {each["name"]: each["value"] for one in containers for each in one["environment"]}


def read_document(text: str, task: Home) -> dict[str, Any]:
    """Read a parameter's value: a just-in-time configuration alone, or JSON; sealed or not."""
    if sealing.is_sealed(text):
        text = sealing.unseal(text, read_variables(task)["SIDECAR_TOKEN_KEY"], task.id)
    if text.startswith(f"{CANARY}-jit-"):
        return {"jit_config": text}
    document: dict[str, Any] = json.loads(text)
    return document


def _admits(policy: dict[str, Any] | None, job: Job) -> bool:
    """Do what the started hook does, as far as a storm needs it."""
    if policy is None:
        return True
    if policy.get("events") and job.event not in policy["events"]:
        return False
    return bool(policy.get("forks", False)) or not job.head or job.head == job.repository
