"""Run one storm of real processes, and tell what went wrong."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local import programs
from tests.launches.stage import COMMAND, open_stage
from tests.storms.real.people import People
from tests.storms.real.plan import Plan, make_plan
from tests.storms.real.processes import Processes
from tests.storms.real.story import tell
from tests.storms.real.verdict import judge
from tests.storms.real.world import World
from tests.storms.report import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LONGEST = 600.0
"""Seconds after which a storm counts as one that never ends."""

VISIBILITY = 120
"""Seconds of the queue's time for which a worker holds a message."""


@dataclass
class Storm:
    """The outcome of a storm."""

    plan: Plan
    wrong: list[str] = field(default_factory=list)
    jobs: int = 0
    tasks: int = 0
    killed: int = 0
    """The number of processes that were killed."""
    seconds: float = 0.0
    story: str = ""
    """All that was seen of it, line by line."""

    def tell(self) -> str:
        """Tell what happened."""
        return "\n".join([str(self.plan), self.story, *map("WRONG  {}".format, self.wrong)])


def run_storm(seed: str, plan: Plan | None = None, command: tuple[str, ...] = COMMAND) -> Storm:
    """Run the storm of a seed; `command` starts the launcher."""
    return asyncio.run(play_storm(plan or make_plan(seed), command))


async def play_storm(plan: Plan, command: tuple[str, ...] = COMMAND) -> Storm:
    """Play a storm to its end."""
    begun, storm = time.monotonic(), Storm(plan)
    try:
        await asyncio.wait_for(_run(storm, command), LONGEST)
    except TimeoutError:
        storm.wrong.append(f"no end after {LONGEST:g} s")
    storm.seconds = time.monotonic() - begun
    return storm


async def _run(storm: Storm, command: tuple[str, ...]) -> None:
    async with AsyncExitStack() as stack:
        moto = stack.enter_context(programs.run("-m", "local.aws", env=os.environ))
        stage = await stack.enter_async_context(open_stage(moto, queue=True, visibility=VISIBILITY))
        stage.command, stage.talkative = command, False
        world = World(stage, storm.plan)
        world.prepare()
        await stage.prepare_image()
        try:
            people = People(world)
            async with Processes(world).running(), people.resending():
                await people.play()
                storm.wrong = await judge(world)
        finally:
            storm.jobs, storm.tasks = len(world.jobs), len(stage.ecs.tasks)
            storm.killed = world.killed
            storm.story = tell(world)


def command(seed: str) -> str:
    """Return how to run one storm alone."""
    return f"python -m tests.storms.real --storm {seed}"


def run_storms(seeds: Iterable[str], show: Callable[[Storm], None]) -> tuple[list[Storm], str]:
    """Run the storms of seeds, one after the other; return those that went wrong, and a report."""
    begun, storms = time.monotonic(), []
    for seed in seeds:
        storms.append(run_storm(seed))
        show(storms[-1])
    title = f"storms of real processes in {time.monotonic() - begun:.0f} s"
    figures = {
        "processes killed": f"{sum(storm.killed for storm in storms)}",
        "longest": f"{max((storm.seconds for storm in storms), default=0):.0f} s",
    }
    wrong = [storm for storm in storms if storm.wrong]
    return wrong, write_report(title, storms, figures, command)
