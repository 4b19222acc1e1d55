"""Swap the tasks of two launches, where the job of one runs on the runner of the other.

GitHub gives a job to any idle runner that has its labels. Among equal jobs nothing is lost by that:
the task that was started for the first job serves the second one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.work import pauses
from launcher.work.held import hold
from launcher.work.resources import PutOff

if TYPE_CHECKING:
    from launcher.record.launch import Launch
    from launcher.work.deleting import Deleting
    from launcher.work.held import Held
    from launcher.work.resources import Resources

log = structlog.get_logger()

BUSY = PutOff(pauses.HELD, "another worker carries it on")


class Swaps:
    """Moves tasks between launches. The caller holds the first one's lease."""

    def __init__(self, around: Resources, deleting: Deleting) -> None:
        self._records = around.records
        self._name_prefix = around.name_prefix
        self._deleting = deleting

    async def find_launch_of(self, runner: str | None) -> Launch | None:
        """Find the launch whose task has a runner now."""
        task = identity.task_of_runner(self._name_prefix, runner or "")
        id_ = await self._records.find(task) if task else None
        found = await self._records.read(id_) if id_ else None
        if found is not None and found.demand and Demand.from_json(found.demand).order is not None:
            return None  # its caller ordered it for a job that it knows: nobody stole it
        return found

    async def try_swap(self, held: Held, found: Demand) -> PutOff | bool:
        """Swap with the launch whose runner has the job; return whether there was such a launch.

        `found` is the job as GitHub describes it now.
        """
        other = await self.find_launch_of(found.runner_name)
        if other is None or other.id == held.launch.id or not are_swapped(held.launch, other):
            return False
        async with hold(self._records, other) as victim:
            if victim is None:
                return BUSY
            taken = victim.launch
            if taken.runner_name != found.runner_name or not are_swapped(held.launch, taken):
                return False  # it has another task by now
            await self.move(held, victim, found, swaps=True)
        return True

    async def move(self, held: Held, victim: Held, demand: Demand, *, swaps: bool) -> None:
        """Give the task that took the job to the job's launch; with `swaps` also the other way.

        Without, the victim begins its next try.
        """
        taken, own = await self._deleting.leave_token(victim.launch), held.launch
        reason = f"job {demand.job_id} took {demand.runner_name}"
        # Where the task has ended before, no event of it will come that closes the launch.
        moved = replace(_with_task_of(own, taken), served=True, online=True, ended=taken.ended)
        left = taken.with_reason(reason)
        left = _with_task_of(left, own) if swaps else left.stolen(reason).next_try(reason)
        if not own.counters:
            moved = replace(moved, counters=taken.counters)
            left = replace(left, counters=())
        await held.save_with(moved, victim, left)
        log.warning("launch.stolen", launch=taken.id, by=own.id, swapped=swaps, reason=reason)


def are_swapped(own: Launch, taken: Launch) -> bool:
    """Whether a launch whose job runs on the other one's runner has a task to give for it."""
    is_wanted = not own.settled and not taken.settled
    return own.place is not None and is_wanted and _are_equal(own, taken)


def _are_equal(one: Launch, other: Launch) -> bool:
    """Whether a runner of one launch serves the job of the other just as well."""
    first, second = Demand.from_json(one.demand), Demand.from_json(other.demand)
    labels = [frozenset(map(str.lower, each.labels)) for each in (first, second)]
    return (
        one.pool == other.pool
        and first.repository_id == second.repository_id
        and labels[0] == labels[1]
    )


def _with_task_of(launch: Launch, other: Launch) -> Launch:
    """Return the launch with the task of the other one, and all that belongs to the task."""
    return replace(
        launch,
        request=other.request,
        place=other.place,
        placed_at=other.placed_at,
        generation=other.generation,
        announced_at=other.announced_at,
        runner_name=other.runner_name,
        runner_id=other.runner_id,
        handed_over=other.handed_over,
        keeps_token=other.keeps_token,
        may_be_left=other.may_be_left,
        online=other.online,
        taken_at=other.taken_at,
    )
