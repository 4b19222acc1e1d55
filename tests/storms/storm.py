"""Run one storm, or many, and tell what went wrong."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from structlog.testing import LogCapture

from tests.storms import clock
from tests.storms.calls import loop_time
from tests.storms.machines import Fate
from tests.storms.plan import Plan, make_machine_plan, make_plan
from tests.storms.report import write_report
from tests.storms.swept.plan import SweptPlan, make_swept_plan
from tests.storms.swept.verdict import judge as judge_swept
from tests.storms.swept.world import SweptWorld
from tests.storms.verdict import judge
from tests.storms.world import World, out_of_reach, reached

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
    machines: int = 0
    longest: float = 0.0
    """The virtual seconds that a machine lived, at most."""
    fates: Counter[Fate] = field(default_factory=Counter)
    """The fates of the machines."""
    used_tokens: int = 0
    """The number of times that EC2 answered that the machine of a client token has ended."""
    given_up: int = 0
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


ON_MACHINES = "machines-"
"""The beginning of the seeds of storms with machines."""


SWEPT = "swept-"
"""The beginning of the seeds of storms that are swept."""


def draw(seed: str) -> Plan:
    """Draw the storm of a seed."""
    if seed.startswith(SWEPT):
        return make_swept_plan(seed)
    return (make_machine_plan if seed.startswith(ON_MACHINES) else make_plan)(seed)


def run_storm(seed: str, plan: Plan | None = None) -> Storm:
    """Run the storm of a seed."""
    storm = Storm(plan or draw(seed))
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
            world = _make_world(storm.plan)
            storm.story = world.weather.story
            with reached(world):
                await world.run()
                storm.wrong = _judge(world, capture.entries)
            _sum_up(storm, world)
            storm.given_up = sum(it["event"] == "launch.given_up" for it in capture.entries)
        finally:
            processors[:] = kept

    ids = random.Random(f"ids {seed}")  # noqa: S311  chance, not secrecy
    with out_of_reach():
        clock.run(whole, seed, ids)
    return storm


def _make_world(plan: Plan) -> World:
    return SweptWorld(plan) if isinstance(plan, SweptPlan) else World(plan)


def _judge(world: World, events: list[dict[str, Any]]) -> list[str]:
    if isinstance(world, SweptWorld):
        return judge_swept(world, events)
    return judge(world, events)


def _sum_up(storm: Storm, world: World) -> None:
    storm.jobs, storm.tasks = len(world.github.jobs), len(world.ecs.tasks)
    storm.deaths = sum(process.dead for process in world.processes)
    storm.machines, storm.used_tokens = len(world.ec2.machines), world.ec2.used_tokens
    storm.fates = Counter(it.fate for it in world.ec2.machines.values())
    storm.lasted = loop_time()
    lived = [(it.ended or storm.lasted) - it.began for it in world.ec2.machines.values()]
    storm.longest = max(lived, default=0.0)


def command(seed: str) -> str:
    """Return how to run one storm alone."""
    return f"python -m tests.storms --storm {seed}"


def run_storms(seeds: Iterable[str]) -> tuple[list[Storm], str]:
    """Run the storms of seeds; return those that went wrong, and a report."""
    begun, storms = time.monotonic(), [run_storm(seed) for seed in seeds]
    return report_storms(storms, f"storms in {time.monotonic() - begun:.0f} s")


def report_storms(storms: list[Storm], title: str = "storms") -> tuple[list[Storm], str]:
    """Return the storms that went wrong, and a report of all."""
    ends = sum((storm.fates for storm in storms), Counter[Fate]())
    figures = {
        "machines": f"{sum(storm.machines for storm in storms)}",
        "their ends": ", ".join(f"{count} {fate}" for fate, count in sorted(ends.items())),
        "longest machine": f"{max((storm.longest for storm in storms), default=0):.0f} s",
        "used tokens": f"{sum(storm.used_tokens for storm in storms)}",
        "launches given up": f"{sum(storm.given_up for storm in storms)}",
        "processes killed": f"{sum(storm.deaths for storm in storms)}",
        "virtual hours": f"{sum(storm.lasted for storm in storms) / 3600:.0f}",
    }
    wrong = [storm for storm in storms if storm.wrong]
    return wrong, write_report(title, storms, figures, command)
