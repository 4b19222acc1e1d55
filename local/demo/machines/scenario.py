"""Run the demo of a launch on a machine, from the first stand-in to the verdict."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from local import ec2, programs
from local.demo import verdict as verdicts
from local.demo.launch.scenario import STEPS
from local.demo.machines import verdict, watching
from local.demo.machines.stage import POOL, open_stage
from local.demo.verdict import Check, list_all

if TYPE_CHECKING:
    from local.agent import AgentProcess
    from local.demo.machines.endings import Ending
    from local.demo.machines.stage import MachineStage
    from local.demo.timeline import Timeline


async def run(
    name: str, ending: Ending, timeline: Timeline
) -> tuple[list[Check], AgentProcess | None]:
    """Show `ending`; returns what was verified, and the worker with its log."""
    with timeline.live():
        timeline.begin("stage", "demo", "starts stand-ins for AWS, EC2 and GitHub")
        async with AsyncExitStack() as stack:
            # A program of its own: it has as much to do as all the others.
            moto = stack.enter_context(programs.run("-m", "local.aws", env=os.environ))
            stage = await stack.enter_async_context(open_stage(moto))
            timeline.done("demo", "has started stand-ins for AWS, EC2 and GitHub", "stage")
            if ending.boot_limit:
                stage.pools.write_text(f"{POOL}boot_limit = {ending.boot_limit}\n")
            timeline.begin("launcher", "launcher", "starts: a webhook and a worker")
            worker, *_ = await asyncio.gather(
                stack.enter_async_context(stage.worker()),
                stack.enter_async_context(stage.webhook()),
                stage.machines.prepare(),
            )
            timeline.done("launcher", "listens for webhooks, and waits for messages", "launcher")
            timeline.done("demo", describe_space(stage))
            stage.machines.agents = list(ending.agents)
            if name == "no-capacity":
                stage.ec2.droughts = [ec2.Drought(times=2)]
            checks = await _play(stage, ending, timeline)
        left = [str(stage.folder)] if stage.folder.exists() else []
        files = Check("files of the demo", verdicts.NOTHING, list_all(left), left=True)
    return [*checks, files], worker


def describe_space(stage: MachineStage) -> str:
    """Say what machines are here."""
    if stage.machines.isolated:
        return "has a network and folders of its own for each machine"
    return "has no namespaces here: a machine's paths and its metadata address are replaced"


async def _play(stage: MachineStage, ending: Ending, timeline: Timeline) -> list[Check]:
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watching.watch(stage, timeline))
        job = stage.queue_job("self-hosted", "machine", steps=STEPS)
        timeline.done("GitHub", "has a job in its queue")
        await stage.github.world.changes.until(lambda: job.state == "completed" or None, 3600)
        await stage.ec2.wait_for(lambda: not stage.ec2.living(), 3600)
        await stage.wait_for_answers()
        timeline.begin("verify", "demo", "lets put-off messages come now, and looks what is left")
        left = await verdict.check_left(stage)
        checks = [*verdict.verify(stage, ending), *left]
        watcher.cancel()
        timeline.done("demo", "has looked at what is left, when no message was left", "verify")
    return checks
