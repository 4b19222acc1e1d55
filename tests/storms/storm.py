"""Run one storm, or many, and tell what went wrong."""

from __future__ import annotations

import random
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from structlog.testing import LogCapture

from tests.storms import clock
from tests.storms.calls import loop_time
from tests.storms.plan import Plan, make_plan
from tests.storms.report import write_report
from tests.storms.verdict import judge
from tests.storms.world import World, reached

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Storm:
    """What became of a storm."""

    plan: Plan
    wrong: list[str] = field(default_factory=list)
    story: list[tuple[float, str]] = field(default_factory=list)
    jobs: int = 0
    tasks: int = 0
    deaths: int = 0
    lasted: float = 0.0
    """Virtual seconds."""

    def tell(self, most: int = 400) -> str:
        """Tell what happened."""
        lines = [f"{at:9.2f}  {text}" for at, text in sorted(self.story, key=lambda it: it[0])]
        skipped = [f"... {len(lines) - most} lines more"] if len(lines) > most else []
        return "\n".join(
            [str(self.plan), *skipped, *lines[-most:], *map("WRONG  {}".format, self.wrong)]
        )


def run_storm(seed: str, plan: Plan | None = None) -> Storm:
    """Run the storm of a seed."""
    storm = Storm(plan or make_plan(seed))
    capture = LogCapture()

    def tell(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        if event.pop("exc_info", None):
            event["traceback"] = traceback.format_exc()
        facts = " ".join(f"{key}={str(value)[-1500:]}" for key, value in sorted(event.items()))
        storm.story.append((loop_time(), f"    {facts}"))
        return event

    async def whole() -> None:
        # Inside the loop: bench.virtual captures the log too.
        processors = structlog.get_config()["processors"]
        kept = list(processors)
        processors[:] = [tell, capture]
        try:
            world = World(storm.plan)
            storm.story = world.weather.story
            with reached(world):
                await world.run()
                storm.wrong = judge(world, capture.entries)
            _sum_up(storm, world)
        finally:
            processors[:] = kept

    clock.run(whole, seed, random.Random(f"ids {seed}"))  # noqa: S311  chance, not secrecy
    return storm


def _sum_up(storm: Storm, world: World) -> None:
    storm.jobs, storm.tasks = len(world.github.jobs), len(world.ecs.tasks)
    storm.deaths = sum(process.dead for process in world.processes)
    storm.lasted = loop_time()


def command(seed: str) -> str:
    """Return how to run one storm alone."""
    return f"python -m tests.storms --storm {seed}"


def run_storms(seeds: Iterable[str]) -> tuple[list[Storm], str]:
    """Run the storms of seeds; return those that went wrong, and a report."""
    begun, storms = time.monotonic(), [run_storm(seed) for seed in seeds]
    title = f"storms in {time.monotonic() - begun:.0f} s"
    figures = {
        "processes killed": f"{sum(storm.deaths for storm in storms)}",
        "virtual hours": f"{sum(storm.lasted for storm in storms) / 3600:.0f}",
    }
    wrong = [storm for storm in storms if storm.wrong]
    return wrong, write_report(title, storms, figures, command)
