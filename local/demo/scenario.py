"""Run one ending of the demo, from the first stand-in to the verdict."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from local import aws, runner, stage
from local.agent import make_folder
from local.demo import agent as agents
from local.demo import nested, story, verdict, watching
from local.demo.verdict import Check, Facts
from local.stage import REPOSITORY, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.agent import AgentProcess
    from local.demo.endings import Ending
    from local.demo.nested import Container
    from local.demo.timeline import Timeline


@asynccontextmanager
async def open_stage(ending: Ending) -> AsyncIterator[Stage]:
    """Start all stand-ins; after the block nothing of them is left, on disk neither."""
    with make_folder("runner-demo-") as folder:
        async with stage.start_stand_ins(use_sts=True) as stand_ins:
            installed = await asyncio.to_thread(runner.install, folder / "runner")
            opened = Stage(stand_ins, folder, installed)
            opened.misbehave(**ending.misbehaves)
            yield opened


async def run(ending: Ending, timeline: Timeline) -> tuple[list[Check], AgentProcess]:
    """Show `ending`; returns what was verified, and the agent with its log."""
    with timeline.live():
        timeline.begin("stage", "demo", "starts stand-ins for AWS, ECS and GitHub")
        async with open_stage(ending) as opened:
            timeline.done("demo", "has started stand-ins for AWS, ECS and GitHub", "stage")
            checks, agent = await _run_agent(opened, ending, timeline)
        left = [str(opened.folder)] if opened.folder.exists() else []
        files = Check("files of the demo", verdict.NOTHING, verdict.list_all(left), left=True)
    return [*checks, files], agent


async def _run_agent(
    stage: Stage, ending: Ending, timeline: Timeline
) -> tuple[list[Check], AgentProcess]:
    with timeline.step("AWS", "stores the token", "SSM holds a registration token"):
        token = await stage.put_token()
    with nested.prepare(stage) as container:
        if ending.steps:
            _queue_job(stage, ending, container)
            timeline.done("GitHub", "has a job in its queue")
        timeline.begin("start", "agent", "starts")
        async with agents.run(stage, ending) as agent:
            listening = await _follow(stage, ending, agent, container, timeline)
            timeline.begin("verify", "demo", "looks at what is left")
            facts = Facts(ending, await agent.wait_for_end(), token, listening)
            checks = await verdict.verify(stage, agent, container, facts)
            timeline.done("demo", "has looked at what is left", "verify")
            return checks, agent


def _queue_job(stage: Stage, ending: Ending, container: Container) -> None:
    stage.queue_job(
        {
            "name": "build",
            "repository": REPOSITORY,
            "env": {"CONTAINER": str(container.folder)},
            "steps": ending.steps,
        }
    )


async def _follow(
    stage: Stage, ending: Ending, agent: AgentProcess, container: Container, timeline: Timeline
) -> bool:
    """Show what happens until the agent has ended.

    Returns whether the runner's program still listened when GitHub removed the runner.
    """
    async with asyncio.TaskGroup() as group:
        look: asyncio.Task[None] | None = None
        removal = group.create_task(_wait_for_removal(stage))
        watchers = [
            group.create_task(watching.watch(stage.world, timeline)),
            group.create_task(_run_container(stage, container, timeline)),
            group.create_task(_stop(stage, ending, agent, timeline)),
        ]
        async for event in agent.follow():
            story.show(event, timeline)
            if event["event"] == "token.deleted":
                look = group.create_task(_look_at_ssm(stage, timeline))
        await agent.wait_for_end()
        if look:
            await look
        for task in (removal, *watchers):
            task.cancel()
    return removal.done() and not removal.cancelled() and removal.result()


async def _look_at_ssm(stage: Stage, timeline: Timeline) -> None:
    """Ask SSM what it holds, once the agent has logged that it deleted the token."""
    timeline.begin("ssm", "AWS", "is asked for the token")
    names = await asyncio.to_thread(aws.names, stage.moto)
    answer = f"SSM still holds {', '.join(names)}" if names else "SSM holds no token any more"
    timeline.done("AWS", answer, "ssm")


async def _run_container(stage: Stage, container: Container, timeline: Timeline) -> None:
    """Start the container when the job's step asks for it, in place of a docker daemon."""
    uri = await container.wait_for_start()
    timeline.begin("container", "container", "asks AWS who it is; it knows only the relay")
    arn = await container.run(uri, stage)
    role = arn.split(":", 5)[-1].rpartition("/")[0] if arn.startswith("arn:") else arn
    timeline.done("container", f"has asked AWS who it is: {role}", "container")


async def _stop(stage: Stage, ending: Ending, agent: AgentProcess, timeline: Timeline) -> None:
    """Ask the agent to stop when the ending wants it."""
    world = stage.world

    def look() -> bool | None:
        if ending.stop_when == "busy":
            return any(job.steps[-1].state == "running" for job in world.jobs) or None
        return any(session.polls for session in world.sessions.values()) or None

    if not ending.stop_when:
        return
    if await world.changes.until(look, 3600):
        timeline.done("demo", "asks the agent to stop, as ECS does: SIGTERM", style="bold")
        agents.stop(agent)


async def _wait_for_removal(stage: Stage) -> bool:
    """Wait until a runner is removed; returns whether its program still listened then."""
    world = stage.world
    removed = await world.changes.until(lambda: world.runners.removed or None, 3600)
    return any(
        each.id == session.runner_id
        for each in removed or ()
        for session in world.sessions.values()
    )
