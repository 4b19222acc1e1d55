"""Handle GitHub's news of a job that was queued: it waits, is in progress, or is completed."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.demand.delivery import WAITING, Demand
from launcher.jobs import Unknown
from launcher.look import ENDS
from launcher.record.launch import Launch
from launcher.work import pauses
from launcher.work.carrying import UNANSWERED
from launcher.work.ending import WAITS
from launcher.work.held import Held, hold
from launcher.work.queued import launch_id
from launcher.work.resources import PutOff
from launcher.work.swapping import BUSY, are_swapped

if TYPE_CHECKING:
    from launcher.demand.message import Message
    from launcher.work.admission import Admission
    from launcher.work.carrying import Carrier
    from launcher.work.resources import Resources

LAST_LOOK = 10
"""Looks after which a task whose job is completed is stopped."""


class JobNews:
    """Handles what GitHub tells of jobs."""

    def __init__(self, around: Resources, carrier: Carrier, admission: Admission) -> None:
        self._around = around
        self._carrier = carrier
        self._admission = admission

    # -- waiting -----------------------------------------------------------------------------

    async def handle_waiting(self, demand: Demand, message: Message) -> PutOff | None:
        """Take back what was started for a job that now waits for an approval.

        The delivery may be late, and the job approved already: so GitHub is asked.
        """
        del message
        stored = await self._around.records.read(self._id(demand))
        if stored is None or stored.settled:
            return None
        found = await self._carrier.look_up(demand)
        if isinstance(found, Unknown):
            if found.may_pass:
                reason = f"whether the job still waits is not known: {found.reason}"
                return PutOff(UNANSWERED, reason)
            found = demand  # the delivery is all that is known
        if found.action != WAITING:
            return None
        async with hold(self._around.records, stored) as held:
            return await self._carrier.settle(held, demand, WAITS) if held else BUSY

    # -- in progress -------------------------------------------------------------------------

    async def handle_in_progress(self, demand: Demand, message: Message) -> PutOff | None:
        """Learn which runner has the job: its own launch's, another one's, a foreign one."""
        if (own := await self._find_own(demand)) is None:
            return None
        other = await self._carrier.swaps.find_launch_of(demand.runner_name)
        async with AsyncExitStack() as stack:
            held = await stack.enter_async_context(hold(self._around.records, own))
            if held is None:
                return BUSY
            if other is None or other.id == own.id:
                later = await self._carrier.follow(held, demand)
                return later or await self._watch_late(held, demand, message)
            victim = await stack.enter_async_context(hold(self._around.records, other))
            if victim is None:
                return BUSY
            if victim.launch.runner_name != demand.runner_name:
                return await self._carrier.follow(held, demand)  # it has another task by now
            return await self._move(held, victim, demand, message)

    async def _find_own(self, demand: Demand) -> Launch | None:
        """Return the job's launch; a new one where its `queued` was lost or comes late."""
        stored = await self._around.records.read(self._id(demand))
        if stored is not None or not self._admission.is_ours(demand):
            return stored
        pool = next(iter(self._around.pools().rank(demand.labels)), None)
        name = pool[0].name if pool else ""
        return Launch(self._id(demand), name, demand.to_json(), self._around.now())

    async def _move(
        self, held: Held, victim: Held, demand: Demand, message: Message
    ) -> PutOff | None:
        """Give the task that took the job to the job's launch, and its own to the other one.

        Thefts among equals are swaps: what the job's launch has started serves the other job.
        """
        own = held.launch
        swaps = are_swapped(own, victim.launch)
        # A stored request has perhaps started a task, too: its answer may be lost.
        has_task = own.place is not None or own.request is not None
        if has_task and not swaps:  # its own task is of no use to the other job
            reason = f"job {demand.job_id} took {demand.runner_name}"
            if (later := await self._carrier.settle(held, demand, reason)) is not None:
                return later
        await self._carrier.swaps.move(held, victim, demand, swaps=swaps)
        if held.launch.ended:
            await held.give_places()
        if own.place is None:
            await self._carrier.ending.leave_line(held)
        if victim.launch.place is None:
            await self._begin_anew(victim, message)
        return await self._watch_late(held, demand, message)

    async def _begin_anew(self, victim: Held, message: Message) -> None:
        """Begin the next try of a launch whose runner was taken, where its job still waits."""
        other = Demand.from_json(victim.launch.demand)
        if victim.launch.settled:
            await self._carrier.finish(victim, other)
            return
        await self._carrier.ending.check_tries(victim, other)
        # Its job may have taken a runner in turn: then nothing is missing.
        await self._carrier.carry_on(victim, other, replace(message, received=2))

    # -- completed ---------------------------------------------------------------------------

    async def handle_completed(self, demand: Demand, message: Message) -> PutOff | None:
        """Want nothing more for the job, and see that what was started for it ends."""
        other = await self._carrier.swaps.find_launch_of(demand.runner_name)
        own = await self._find_own(demand)
        if own is None or (own.settled and own.ended and not own.counters):
            return None
        if other is not None and other.id != own.id and not own.served:
            if (later := await self.handle_in_progress(demand, message)) is not None:
                return later
            own = await self._find_own(demand) or own
        async with hold(self._around.records, own) as held:
            if held is None:
                return BUSY
            await self._carrier.settle_by(held, demand)
            if held.launch.served and held.launch.place is not None:
                return await self._watch_end(held, demand, message)
            return await self._carrier.finish(held, demand)

    async def _watch_late(self, held: Held, demand: Demand, message: Message) -> PutOff | None:
        """See that a task ends which its launch got when it was settled already.

        The job's other messages may be done with by then, and an event of EC2 may be lost.
        """
        launch = held.launch
        if launch.place is None or launch.given_up is None or not launch.served:
            return None
        return await self._watch_end(held, demand, message)

    async def _watch_end(self, held: Held, demand: Demand, message: Message) -> PutOff | None:
        """See that the task ends with its job, also where its event is lost."""
        if held.launch.ended:
            return await self._carrier.finish(held, demand)
        if message.count == 0:
            return PutOff(pauses.CHECK, "its task ends")
        look = await self._carrier.ending.look(held, demand)
        if look.progress in ENDS:
            return await self._carrier.end(held, demand, look)
        if message.count >= LAST_LOOK:
            return await self._carrier.ending.stop(held, demand, "its job is completed")
        return PutOff(pauses.CHECK, "its task ends")

    def _id(self, demand: Demand) -> str:
        return launch_id(self._around.deployment, demand)
