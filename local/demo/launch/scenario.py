"""Run the demo of a launch, from the first stand-in to the verdict."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from local import ecs, launches, programs
from local.demo import verdict as verdicts
from local.demo.launch import crowd, verdict, watching
from local.demo.verdict import Check, list_all

if TYPE_CHECKING:
    from local.agent import AgentProcess
    from local.demo.launch.endings import Ending
    from local.demo.timeline import Timeline
    from local.github.jobs import Job

MOST_SHOWN = 3
"""Jobs whose every step is shown; of more only the ends."""
STEPS = [{"name": "Who am I", "run": 'echo "I am $(id -un 2>/dev/null || id -u)"'}]


async def run(
    name: str, ending: Ending, jobs: int, timeline: Timeline
) -> tuple[list[Check], AgentProcess]:
    """Show `ending` with so many jobs; returns what was verified, and the worker with its log."""
    with timeline.live():
        timeline.begin("stage", "demo", "starts stand-ins for AWS, ECS and GitHub")
        async with AsyncExitStack() as stack:
            # A program of its own: it has as much to do as all the others.
            moto = stack.enter_context(programs.run("-m", "local.aws", env=os.environ))
            opened = launches.open_stage(moto, queue=True, make=launches.Stage)
            stage = await stack.enter_async_context(opened)
            timeline.done("demo", "has started stand-ins for AWS, ECS and GitHub", "stage")
            timeline.begin("launcher", "launcher", "starts: a webhook and a worker")
            worker, *_ = await asyncio.gather(
                stack.enter_async_context(stage.worker()),
                stack.enter_async_context(stage.webhook()),
                stage.prepare_image(),
            )
            timeline.done("launcher", "listens for webhooks, and waits for messages", "launcher")
            _prepare(name, stage)
            checks = await _play(name, stage, ending, jobs, timeline)
        left = [str(stage.folder)] if stage.folder.exists() else []
        files = Check("files of the demo", verdicts.NOTHING, list_all(left), left=True)
    return [*checks, files], worker


def _prepare(name: str, stage: launches.Stage) -> None:
    """Prepare what goes wrong."""
    if name == "no-capacity":
        stage.ecs.droughts = [ecs.Drought(times=2)]
    elif name == "pull":
        stage.ecs.failing_starts = [ecs.CANNOT_PULL]
    elif name == "cancel":
        stage.ecs.may_run.clear()


async def _play(
    name: str, stage: launches.Stage, ending: Ending, jobs: int, timeline: Timeline
) -> list[Check]:
    watch = watching.watch if jobs <= MOST_SHOWN else crowd.watch
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch(stage, timeline))
        queued = [_queue(stage, number, jobs) for number in range(1, jobs + 1)]
        timeline.done("GitHub", "has a job in its queue" if jobs == 1 else f"has {jobs} jobs")
        if name == "cancel":
            await _cancel(stage, queued, timeline)
        over = partial(_are_over, queued)
        await stage.github.world.changes.until(over, 3600)
        await stage.ecs.wait_for(lambda: not stage.ecs.living(), 3600)
        await stage.wait_for_answers()
        timeline.begin("verify", "demo", "lets put-off messages come now, and looks what is left")
        left = await verdict.check_left(stage)
        checks = [*verdict.verify(stage, ending, jobs), *left]
        watcher.cancel()
        timeline.end("crowd")
        timeline.done("demo", "has looked at what is left, when no message was left", "verify")
    return checks


def _queue(stage: launches.Stage, number: int, jobs: int) -> Job:
    name = "build" if jobs == 1 else f"build {number:02}"
    return stage.queue_job("self-hosted", "build", name=name, steps=STEPS)


def _are_over(jobs: list[Job]) -> bool | None:
    return all(job.state == "completed" for job in jobs) or None


async def _cancel(stage: launches.Stage, jobs: list[Job], timeline: Timeline) -> None:
    """Cancel the jobs once their tasks have their tokens."""
    for process in stage.launchers:
        if "work" in process.argv:
            await process.wait_for_event("token.handed_over", count=len(jobs))
    for job in jobs:
        stage.github.world.cancel(job)
    timeline.done("demo", "cancels the job, as somebody does on GitHub's page", style="bold")
