"""Hold a storm's world: its stage, its jobs, what goes wrong there, and what was seen."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from local import ecs, leftovers
from tests.launches.stage import POOLS, Stage

if TYPE_CHECKING:
    from local.github.jobs import Job
    from tests.storms.real.plan import Plan


class World:
    """One storm's world."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self.stage = stage
        self.plan = plan
        self.jobs: list[Job] = []
        """The jobs that were queued."""
        self.marks = stage.folder / "ran"
        """The file to which each job writes its name when it runs."""
        self.killed = 0
        """The number of processes that were killed."""
        self.notes: list[tuple[float, str]] = []
        """The storm's own deeds, each with its time."""
        self.wrong: list[str] = []
        """The things that happened and may never happen."""
        self.chance = random.Random(f"world {plan.seed}")  # noqa: S311  chance, not secrecy
        self.webhook_runs = asyncio.Event()
        """Set while there is a webhook that GitHub sends to."""

    def prepare(self) -> None:
        """Prepare what goes wrong."""
        plane, world = self.stage.ecs, self.stage.github.world
        plane.definitions.append(ecs.TaskDefinition(revision=2))
        plane.droughts = [replace(drought) for drought in self.plan.droughts]
        plane.failing_starts = list(self.plan.failing_starts)
        plane.events.lose = lambda _: self.chance.random() < self.plan.events_lost
        plane.events.repeat = lambda _: self.chance.random() < self.plan.events_doubled
        if self.plan.held_back:
            plane.may_run.clear()
        self.write_pools("runner:1")
        for fault in self.plan.github:
            world.faults.add(fault)

    def write_pools(self, definition: str) -> None:
        """Write the pool, with a revision of its task definition."""
        changed = POOLS.replace("runner:1", definition)
        changed = changed.replace("maximum = 50", f"maximum = {self.plan.maximum}")
        self.stage.pools.write_text(changed, encoding="utf-8")

    def note(self, what: str) -> None:
        """Note what the storm does."""
        self.notes.append((time.time(), f"STORM {what}"))

    def find_processes(self, task: ecs.Task) -> dict[int, str]:
        """Return the processes of a task, by their number."""
        return leftovers.find(self.stage.folder / task.facts.id)
