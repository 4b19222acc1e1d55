"""Run the story of compose.yaml, from the first stand-in to the verdict."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from local import aws
from local.compose import images, job, verdict
from local.compose.stand_ins import AWS_PORT, IMAGES_PORT, ComposeStage, open_stage
from local.demo import watching

if TYPE_CHECKING:
    from local.demo.timeline import Timeline
    from local.demo.verdict import Check
    from local.github.jobs import Job

TASK = "runner"
"""The name of the runner's container in the network."""


async def run(
    timeline: Timeline, ready: Path, ended: asyncio.Event, *, fail: bool
) -> tuple[list[Check], str]:
    """Run the story; returns what was verified, and what the job's failing step printed.

    The file `ready` is made when the task may start. `ended` is set when the task has ended, or
    shall not be waited for any longer. With `fail` the job's first step fails.
    """
    with timeline.live():
        async with open_stage() as stage:
            timeline.done("launcher", "has stand-ins for AWS, ECS and GitHub, all in this network")
            token = await stage.put_token()
            timeline.done("launcher", f"has put a registration token into SSM: {stage.parameter}")
            queued = _queue_job(stage, fail=fail)
            timeline.done("GitHub", "has a job in its queue")
            await asyncio.to_thread(ready.touch)
            await _watch(stage, ended, timeline)
            failing = [step.log for step in queued.steps if step.result == "failed"]
            return await verdict.verify(stage, queued, token), "".join(failing)


def _queue_job(stage: ComposeStage, *, fail: bool) -> Job:
    at = f"http://{stage.address}"
    program = json.dumps([sys.executable, "-I", str(Path(__file__).with_name("whoami.py"))])
    return stage.queue_job(
        job.describe(f"{at}:{IMAGES_PORT}{images.PATH}", f"{at}:{AWS_PORT}", program, fail=fail)
    )


async def _watch(stage: ComposeStage, ended: asyncio.Event, timeline: Timeline) -> None:
    """Show what happens, until the task has ended."""
    async with asyncio.TaskGroup() as group:
        watchers = [
            group.create_task(watching.watch(stage.world, timeline)),
            group.create_task(_watch_token(stage, timeline)),
            group.create_task(_watch_task(ended)),
        ]
        await ended.wait()
        for task in watchers:
            task.cancel()


async def _watch_token(stage: ComposeStage, timeline: Timeline) -> None:
    """Show what happens to the token, as SSM sees it."""
    await stage.ssm.reached(target="GetParameter")
    timeline.done("AWS", "SSM is asked for the token")
    await stage.ssm.reached(target="DeleteParameter")
    while await asyncio.to_thread(aws.names, stage.moto):  # noqa: ASYNC110  moto has no events
        await asyncio.sleep(0.1)
    timeline.done("AWS", "SSM holds no token any more")


async def _watch_task(ended: asyncio.Event) -> None:
    """Set `ended` when the runner's container has ended: its name is then unknown here."""
    seen = False
    while not ended.is_set():
        try:
            await asyncio.to_thread(socket.gethostbyname, TASK)
            seen = True
        except OSError:
            if seen:
                ended.set()
        await asyncio.sleep(0.2)
