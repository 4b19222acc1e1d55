"""Show what happens to machines: GitHub, the launcher, EC2, their consoles."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from local.demo import watching
from local.demo.launch.watching import watch_deliveries
from local.demo.machines import story
from local.ec2.console import follow_lines

if TYPE_CHECKING:
    from local.agent import AgentProcess
    from local.demo.machines.stage import MachineStage
    from local.demo.timeline import Timeline


async def watch(stage: MachineStage, timeline: Timeline) -> None:
    """Show all of it, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(watching.watch(stage.github.world, timeline))
        group.create_task(watch_deliveries(stage, timeline))
        group.create_task(_watch_states(stage, timeline))
        group.create_task(_watch_consoles(stage, timeline))
        for process in stage.launchers:
            group.create_task(_watch_launcher(process, timeline))


async def _watch_launcher(process: AgentProcess, timeline: Timeline) -> None:
    show = story.show_api if "api" in process.argv else story.show_launcher
    async for event in process.follow():
        show(event, timeline)


async def _watch_states(stage: MachineStage, timeline: Timeline) -> None:
    told, shown = stage.ec2.events.told, 0

    def look() -> bool:
        return len(told) > shown

    while True:
        await stage.ec2.wait_for(look, 3600)
        for event in told[shown:]:
            shown += 1
            detail = event["detail"]
            (machine,) = [each for each in stage.ec2.machines if each.id == detail["instance-id"]]
            story.show_state(machine, detail.get("state", ""), timeline)


async def _watch_consoles(stage: MachineStage, timeline: Timeline) -> None:
    async with asyncio.TaskGroup() as group:
        while True:
            booted = await stage.machines.new.get()
            group.create_task(_watch_console(booted.process, timeline))


async def _watch_console(process: AgentProcess, timeline: Timeline) -> None:
    async for line in follow_lines(process):
        story.show_console(line, timeline)
