"""Show what happens to one job, from its webhook to the end of its task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from local.demo import story as agent_story
from local.demo import watching
from local.demo.launch import story

if TYPE_CHECKING:
    from local.agent import AgentProcess
    from local.demo.timeline import Timeline
    from local.github.webhooks import Delivery
    from local.launches import Stage


async def watch(stage: Stage, timeline: Timeline) -> None:
    """Show deliveries, the launcher, ECS, the agents and GitHub, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(watching.watch(stage.github.world, timeline))
        group.create_task(watch_deliveries(stage, timeline))
        group.create_task(_watch_tasks(stage, timeline))
        group.create_task(_watch_agents(stage, timeline))
        for process in stage.launchers:
            group.create_task(_watch_launcher(process, timeline))


async def _watch_launcher(process: AgentProcess, timeline: Timeline) -> None:
    async for event in process.follow():
        story.show_launcher(event, timeline)


async def watch_deliveries(stage: Stage, timeline: Timeline) -> None:
    """Show each delivery that was answered, until cancelled."""
    hooks, shown = stage.github.world.hooks, set[int]()

    def look() -> list[Delivery] | None:
        done = [each for each in hooks.deliveries if each.action and each.status_code]
        return [each for each in done if each.id not in shown] or None

    while not stage.github.world.changes.closed:
        for each in await stage.github.world.changes.until(look, 3600) or ():
            shown.add(each.id)
            again = ", sent again" if each.redelivery else ""
            text = f"sends the webhook “{each.action}”{again}; the answer is {each.status_code}"
            timeline.done("GitHub", text, took=each.duration)


async def _watch_tasks(stage: Stage, timeline: Timeline) -> None:
    told, shown = stage.ecs.events.told, 0

    def look() -> bool:
        return len(told) > shown

    while True:
        await stage.ecs.wait_for(look, 3600)
        for event in told[shown:]:
            shown += 1
            story.show_ecs(event, timeline)


async def _watch_agents(stage: Stage, timeline: Timeline) -> None:
    known: set[str] = set()
    async with asyncio.TaskGroup() as group:
        while True:
            new = await stage.ecs.wait_for(
                lambda: [
                    each for each in stage.ecs.tasks if each.process and each.arn not in known
                ],
                3600,
            )
            for task in new:
                known.add(task.arn)
                group.create_task(_watch_agent(task.process, timeline))


async def _watch_agent(process: AgentProcess, timeline: Timeline) -> None:
    async for event in process.follow():
        agent_story.show(event, timeline)
