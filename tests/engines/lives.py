"""A whole life of the agent in a task with an engine, while its job waits."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local import faults
from tests.engines.far import AWS_PORT, GATEWAY, S3_PORT
from tests.lives import stage as stages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.engines.places import Place
    from tests.lives.stage import Life

_TELL = r"env | sed -n 's/^\(AWS\|DOCKER\)_/told &/p'"
PATIENCE = 90.0
"""Seconds from a life's start to its job's first step."""


@dataclass(frozen=True)
class Living:
    """A life whose job waits."""

    life: Life
    environment: dict[str, str]
    """What of AWS and docker the job's step was told."""
    printed: str
    """What the job has printed before it waits."""
    root: Path
    """The runner's folder."""


def surroundings(place: Place) -> dict[str, str | None]:
    """Return what ECS, and docker, set where the agent runs."""
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
        **place.task.environment,
        "AWS_ENDPOINT_URL_STS": place.task.aws,
        "DOCKER_HOST": f"unix://{place.engine.socket}",
        "SIDECAR_DOCKER_PROXY": "off",  # it would listen where this machine's own daemon may
    }


@contextmanager
def living(
    place: Place, *steps: str, argv: Sequence[str] = stages.ON_UVLOOP, **env: str | None
) -> Iterator[Living]:
    """Run the agent in the task for the block, with a job that waits until the block is left.

    The job has done `steps` before; in them LIFE_ROOT is the runner's folder, and LIFE_FOLDER one
    of the life's own that everybody may use. `argv` is the agent's command.
    """
    begun: Future[Living] = Future()
    loops: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def play() -> None:
        over = asyncio.Event()
        loops.set_result((asyncio.get_running_loop(), over))
        told = {**surroundings(place), **env}
        await _played(place, steps, argv, told, begun, over)

    def run() -> None:
        try:
            place.task.space.enter()
            asyncio.run(play())
        except BaseException as error:
            if not begun.done():
                begun.set_exception(error)
            raise

    with ThreadPoolExecutor(1) as thread:
        playing = thread.submit(run)
        try:
            yield begun.result(PATIENCE)
        finally:
            loop, over = loops.result(PATIENCE)
            if not playing.done():
                loop.call_soon_threadsafe(over.set)
        playing.result(PATIENCE)


async def _played(
    place: Place,
    steps: Sequence[str],
    argv: Sequence[str],
    env: dict[str, str | None],
    begun: Future[Living],
    over: asyncio.Event,
) -> None:
    async with AsyncExitStack() as down:
        stage = await down.enter_async_context(stages.open_stage(place.task.aws))
        for port in (AWS_PORT, S3_PORT):
            # AWS at an address of the task itself, for containers that may not leave it.
            aws = faults.serving(f"http://{GATEWAY}:{port}", "0.0.0.0", port)
            await down.enter_async_context(aws)
        await stage.put()
        env |= {"LIFE_ROOT": str(stage.runner_folder), "LIFE_FOLDER": str(stage.folder)}
        async with stage.life(argv, env=env) as life:
            step, through = stage.make_gate()
            job = stage.job(*steps, f"{_TELL}; {step}")
            await stage.wait_for_output(job, "at the gate")
            printed = stages.read_output(job)
            told = dict(re.findall(r"told (\w+)=(.*)", printed))
            begun.set_result(Living(life, told, printed, stage.runner_folder))
            await over.wait()
            through()
            await stage.check_end(life, 0)
