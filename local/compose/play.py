"""The story, from the first stand-in to the verdict."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local import aws
from local.compose import images, job, verdict
from local.compose.stage import AWS_PORT, IMAGES_PORT, Stage, staged
from local.demo import watching
from local.demo.stage import PARAMETER, REPOSITORY
from local.github.scope import Scope

if TYPE_CHECKING:
    from local.demo.timeline import Timeline
    from local.demo.verdict import Check
    from local.github.jobs import Job

TASK = "runner"
"""The name of the runner's container in the network."""


async def played(
    timeline: Timeline, ready: Path, ended: asyncio.Event, *, fail: bool
) -> tuple[list[Check], str]:
    """Tell the story; gives what was verified, and what the job's failing step printed.

    `ready` is made when the task may start; `ended` is set when nobody shall wait for its end.
    """
    with timeline.live():
        async with staged() as stage:
            timeline.done("launcher", "has stand-ins for AWS, ECS and GitHub, all in this network")
            token = await _put(stage, timeline)
            queued = _queued(stage, fail=fail)
            timeline.done("GitHub", "has a job in its queue")
            await asyncio.to_thread(ready.touch)
            await _watched(stage, ended, timeline)
            failing = [step.log for step in queued.steps if step.result == "failed"]
            return await verdict.verified(stage, queued, token), "".join(failing)


async def _put(stage: Stage, timeline: Timeline) -> str:
    """Do what a launcher does: get a token, put it."""
    token = stage.github.world.mint("registration", Scope.of_path(f"/repos/{REPOSITORY}")).value
    await asyncio.to_thread(aws.put, stage.moto, PARAMETER, token)
    timeline.done("launcher", f"has put a registration token into SSM: {PARAMETER}")
    return token


def _queued(stage: Stage, *, fail: bool) -> Job:
    at = f"http://{stage.address}"
    program = json.dumps([sys.executable, "-I", str(Path(__file__).with_name("whoami.py"))])
    wanted = job.wanted(f"{at}:{IMAGES_PORT}{images.PATH}", f"{at}:{AWS_PORT}", program, fail=fail)
    return stage.github.world.jobs.add(wanted, stage.github.world.now())


async def _watched(stage: Stage, ended: asyncio.Event, timeline: Timeline) -> None:
    """Tell what happens, until the task has ended."""
    async with asyncio.TaskGroup() as group:
        telling = [
            group.create_task(watching.watched(stage.github.world, timeline)),
            group.create_task(_token(stage, timeline)),
            group.create_task(_task_ended(ended)),
        ]
        await ended.wait()
        for task in telling:
            task.cancel()


async def _token(stage: Stage, timeline: Timeline) -> None:
    """Tell what becomes of the token, as SSM sees it."""
    await stage.aws.reached(target="GetParameter")
    timeline.done("AWS", "SSM is asked for the token")
    await stage.aws.reached(target="DeleteParameter")
    while await asyncio.to_thread(aws.names, stage.moto):  # noqa: ASYNC110  it tells nobody
        await asyncio.sleep(0.1)
    timeline.done("AWS", "SSM holds no token any more")


async def _task_ended(ended: asyncio.Event) -> None:
    """Notice the end of the runner's container: a network knows the names of who runs in it."""
    seen = False
    while not ended.is_set():
        try:
            await asyncio.to_thread(socket.gethostbyname, TASK)
            seen = True
        except OSError:
            if seen:
                ended.set()
        await asyncio.sleep(0.2)
