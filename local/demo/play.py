"""One showing, from the first stand-in to the verdict."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from local import aws
from local.demo import agent as agents
from local.demo import nested, story, verdict, watching
from local.demo.stage import PARAMETER, REPOSITORY, Stage, staged
from local.demo.verdict import Check, Played

if TYPE_CHECKING:
    from local.demo.agent import Agent
    from local.demo.endings import Ending
    from local.demo.nested import Container
    from local.demo.timeline import Timeline


async def played(ending: Ending, timeline: Timeline) -> tuple[list[Check], Agent]:
    """Show `ending`; gives what was verified and the agent with all it said."""
    with timeline.live():
        timeline.begin("stage", "demo", "starts stand-ins for AWS, ECS and GitHub")
        async with staged(ending) as stage:
            timeline.done("demo", "AWS, ECS and GitHub stand in on this machine", "stage")
            checks, agent = await _life(stage, ending, timeline)
        kept = [str(stage.folder)] if stage.folder.exists() else []
        files = Check(
            "files of the demo", verdict.NOTHING, ", ".join(kept) or verdict.NOTHING, left=True
        )
    return [*checks, files], agent


async def _life(stage: Stage, ending: Ending, timeline: Timeline) -> tuple[list[Check], Agent]:
    token = stage.mint()
    with timeline.step("AWS", "stores the token", "SSM holds a registration token"):
        await asyncio.to_thread(aws.put, stage.aws, PARAMETER, token)
    with nested.prepared(stage) as container:
        if ending.steps:
            _queue(stage, ending, container)
            timeline.done("GitHub", "has a job in its queue")
        timeline.begin("start", "agent", "starts")
        async with agents.running(stage, ending) as agent:
            helpers = [
                watching.watched(stage.github.world, timeline),
                _beside(stage, container, timeline),
                _stopped(stage, ending, agent, timeline),
            ]
            async with asyncio.TaskGroup() as group:
                asked: asyncio.Task[None] | None = None
                order = group.create_task(_still_listening(stage))
                beside = [group.create_task(each) for each in helpers]
                async for event in agent.events():
                    story.tell(event, timeline)
                    if event["event"] == "token.deleted":
                        asked = group.create_task(_asked(stage, timeline))
                code = await agent.ended()
                if asked:
                    await asked
                for task in (order, *beside):
                    task.cancel()
            listening = order.done() and not order.cancelled() and order.result()
            timeline.begin("verify", "demo", "looks at what is left")
            facts = Played(ending, code, token, listening)
            checks = await verdict.verified(stage, agent, container, facts)
            timeline.done("demo", "has looked at what is left", "verify")
            return checks, agent


def _queue(stage: Stage, ending: Ending, container: Container) -> None:
    wanted = {
        "name": "build",
        "repository": REPOSITORY,
        "env": {"CONTAINER": str(container.folder)},
        "steps": ending.steps,
    }
    stage.github.world.jobs.add(wanted, stage.github.world.now())


async def _asked(stage: Stage, timeline: Timeline) -> None:
    """Ask SSM what it holds, once the agent says that it has deleted the token."""
    timeline.begin("ssm", "AWS", "is asked for the token")
    names = await asyncio.to_thread(aws.names, stage.aws)
    answer = f"SSM still holds {', '.join(names)}" if names else "SSM holds no token any more"
    timeline.done("AWS", answer, "ssm")


async def _beside(stage: Stage, container: Container, timeline: Timeline) -> None:
    """Be the docker that the job's step asks for a container."""
    uri = await container.asked_for()
    timeline.begin("container", "container", "asks AWS who it is; it knows only the relay")
    arn = await container.run(uri, stage)
    said = arn.split(":", 5)[-1].rpartition("/")[0] if arn.startswith("arn:") else arn
    timeline.done("container", f"has asked AWS who it is: {said}", "container")


async def _stopped(stage: Stage, ending: Ending, agent: Agent, timeline: Timeline) -> None:
    """Tell the agent to stop when the moment has come."""
    world = stage.github.world

    def moment() -> bool | None:
        if ending.stop_when == "busy":
            return any(job.steps[-1].state == "running" for job in world.jobs) or None
        return any(session.polls for session in world.sessions.values()) or None

    if not ending.stop_when:
        return
    if await world.changes.until(moment, 3600):
        timeline.done("demo", "tells the agent to stop, as ECS does: SIGTERM", style="bold")
        agent.stop()


async def _still_listening(stage: Stage) -> bool:
    """Wait until a runner is gone; tell whether its program still listened at that moment."""
    world = stage.github.world
    gone = await world.changes.until(lambda: world.runners.removed or None, 3600)
    return any(
        each.id == session.runner_id for each in gone or () for session in world.sessions.values()
    )
