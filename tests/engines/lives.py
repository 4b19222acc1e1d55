"""Run a whole life of the agent in a task with an engine, while its job waits."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from local import faults
from tests.engines.far import AWS_PORT, GATEWAY, S3_PORT
from tests.lives import stage as stages

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path

    from local.github.jobs import Job
    from tests.engines.places import Place
    from tests.lives.stage import Life, Stage

_PRINT_VARIABLES = r"env | sed -n 's/^\(AWS\|DOCKER\)_/told &/p'"
PATIENCE = 300.0
"""Seconds from the agent's start to its job's first step."""


@dataclass(frozen=True)
class RunningLife:
    """A running agent whose job waits."""

    life: Life
    environment: dict[str, str]
    """The variables of AWS and docker in the job's step."""
    printed: str
    """The job's output before it waits."""
    root: Path
    """The runner's folder."""
    job: Job
    loop: asyncio.AbstractEventLoop
    """That of the life, which runs in a thread of its own."""

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """Wait for an event of the agent's log, from another thread."""
        waiting = asyncio.run_coroutine_threadsafe(self.life.wait_for_event(name), self.loop)
        return waiting.result(PATIENCE)


def make_environment(place: Place) -> dict[str, str | None]:
    """Return the variables that ECS and docker set where the agent runs."""
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
        **place.task.environment,
        "AWS_ENDPOINT_URL_STS": place.task.aws,
        "DOCKER_HOST": f"unix://{place.engine.socket}",
        "SIDECAR_DOCKER_PROXY": "off",  # it would listen where this machine's own daemon may
    }


@contextmanager
def run_life(
    place: Place,
    *steps: Any,
    argv: Sequence[str] = stages.ON_UVLOOP,
    before_gate: str = ":",
    code: int = 0,
    more: Mapping[str, Any] | None = None,
    end_job: Callable[[Stage, Life, Job], int] | None = None,
    before_job: Callable[[str], None] | None = None,
    **env: str | None,
) -> Iterator[RunningLife]:
    """Run the agent in the task within the block, with a job that waits until the block ends.

    The job has run `steps` before, and `before_gate` in the step that waits. In them LIFE_ROOT is
    the runner's folder, and LIFE_FOLDER is a folder of this life that everybody may use. `argv` is
    the agent's command. A block that signals the agent names the exit code that follows (`code`).
    `more` has the job's other keys; a job with a `container` waits for a file called `gate` in its
    workspace. `end_job` ends the job in another way, and returns the agent's exit code.
    `before_job` is called with the proxy's socket when the runner waits for a job, in a thread.
    """
    started: Future[RunningLife] = Future()
    loop_and_end: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        end = asyncio.Event()
        loop_and_end.set_result((asyncio.get_running_loop(), end))
        variables = {**make_environment(place), **env}
        play = _Play(steps, argv, before_gate, code, more or {}, end_job, before_job)
        await _run(place, play, variables, started, end)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_there, place, main, started)
        try:
            yield started.result(PATIENCE)
        finally:
            loop, end = loop_and_end.result(PATIENCE)
            if not running.done():
                loop.call_soon_threadsafe(end.set)
        running.result(PATIENCE)


def run_there(
    place: Place, main: Callable[[], Coroutine[Any, Any, None]], started: Future[Any]
) -> None:
    """Run `main` in the task's network; where it fails before it has `started`, that fails too."""
    try:
        place.task.space.enter()
        asyncio.run(main())
    except BaseException as error:
        if not started.done():
            started.set_exception(error)
        raise


class _Play(NamedTuple):
    """What the job and the agent do."""

    steps: Sequence[Any]
    argv: Sequence[str]
    before_gate: str
    code: int
    more: Mapping[str, Any]
    end_job: Callable[[Stage, Life, Job], int] | None
    before_job: Callable[[str], None] | None


async def _run(
    place: Place,
    play: _Play,
    env: dict[str, str | None],
    started: Future[RunningLife],
    end: asyncio.Event,
) -> None:
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(stages.open_stage(place.task.aws))
        for port in (AWS_PORT, S3_PORT):
            # Serve AWS at an address of the task too, for containers that cannot leave it.
            aws = faults.serving(f"http://{GATEWAY}:{port}", "0.0.0.0", port)
            await stack.enter_async_context(aws)
        await stage.put()
        env |= {"LIFE_ROOT": str(stage.runner_folder), "LIFE_FOLDER": str(stage.folder)}
        async with stage.life(play.argv, env=env) as life:
            if play.before_job is not None:
                await life.wait_for_event("phase.entered", phase="idle")
                (event,) = life.find_events("docker.proxy_started")
                await asyncio.to_thread(play.before_job, event["socket"])
            step, through = stage.make_gate() if "container" not in play.more else _make_gate(stage)
            wanted = [{"run": each} if isinstance(each, str) else each for each in play.steps]
            wanted.append({"run": f"{play.before_gate}\n{_PRINT_VARIABLES}; {step}"})
            job = stage.queue_job({"name": "build", "steps": wanted, **play.more})
            await stage.wait_for_output(job, "at the gate")
            printed = stages.read_output(job)
            variables = dict(re.findall(r"told (\w+)=(.*)", printed))
            loop = asyncio.get_running_loop()
            started.set_result(
                RunningLife(life, variables, printed, stage.runner_folder, job, loop)
            )
            await end.wait()
            code = play.code
            if play.end_job is None:
                through()
            else:
                code = play.end_job(stage, life, job)
            if code < 0:
                assert await life.wait_for_end() == code
            else:
                await stage.check_end(life, code)


def _make_gate(stage: Stage) -> tuple[str, Callable[[], None]]:
    """Return what `Stage.make_gate` does, for a step that sees only its workspace."""

    def through() -> None:
        settings = (stage.runner_folder / ".runner").read_text(encoding="utf-8-sig")
        work = stage.runner_folder / json.loads(settings)["workFolder"]
        (work / "repo" / "repo" / "gate").touch()

    return 'echo "at the gate"; while [ ! -e gate ]; do sleep 0.05; done', through
