"""Keep a minimum of runners warm in each pool, by the hours of its schedules.

Each warm runner is a launch like that of a job; its key is the pool and a slot. On every tick each
slot is looked at: an empty one gets a task, one that is not wanted any more is ended. When a job
takes a warm runner, the job's launch takes over its task, and the slot gets a new one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from launcher import identity
from launcher.demand.delivery import QUEUED, Demand
from launcher.demand.message import Message
from launcher.errors import describe
from launcher.jobs import Jobs
from launcher.pools.labels import SELF_HOSTED
from launcher.record.launch import Launch
from launcher.work.admission import Admission
from launcher.work.carrying import DAY, Carrier
from launcher.work.held import hold
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from launcher.pools.access import Access
    from launcher.pools.pool import Pool
    from launcher.work.resources import Resources

log = structlog.get_logger()

AT_ONCE = 10
"""Slots that are looked at at the same time."""
MOST_SURPLUS = 1000
"""Slots above the minimum that one tick looks at."""


class WarmRunners:
    """Keeps the warm runners of all pools.

    `find_home` finds the repository, or something that stands for its owner, whose scope a pool's
    warm runners are registered at; it raises ValueError that says why there is none.
    """

    def __init__(self, around: Resources, find_home: Callable[[Access], str]) -> None:
        jobs = Jobs(around.records.runs)
        admission = Admission(around, jobs)
        self._around = around
        self._find_home = find_home
        self._carrier = Carrier(around, jobs, admission)
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._said: set[str] = set()

    async def keep(self) -> None:
        """Look at every slot of every pool once."""
        now = datetime.fromtimestamp(self._around.now(), UTC)
        async with asyncio.TaskGroup() as group:
            for pool in self._around.pools():
                group.create_task(self._keep_pool(pool, pool.minimum_at(now)))

    async def _keep_pool(self, pool: Pool, wanted: int) -> None:
        try:
            home = self._find_home(pool.access)
        except ValueError as error:
            if wanted and pool.name not in self._said:
                self._said.add(pool.name)
                log.error("warm.skipped", pool=pool.name, reason=str(error))  # noqa: TRY400
            return
        demand = make_demand(pool, home)
        async with asyncio.TaskGroup() as group:
            for slot in range(wanted):
                group.create_task(self._try(pool, slot, self._keep_slot(pool, slot, demand)))
            group.create_task(self._try(pool, wanted, self._end_surplus(pool, wanted, demand)))

    async def _try(self, pool: Pool, slot: int, work: Coroutine[Any, Any, None]) -> None:
        """Do one slot's work; what fails is tried again by the next tick."""
        try:
            async with self._limit:
                await work
        except SidecarError as error:
            log.warning("warm.failed", pool=pool.name, slot=slot, reason=describe(error))

    async def _keep_slot(self, pool: Pool, slot: int, demand: Demand) -> None:
        """Have a warm runner in a slot, or a task that becomes one."""
        now = self._around.now()
        stored = await self._around.records.read(self._id(pool.name, slot))
        launch = stored or Launch(self._id(pool.name, slot), pool.name, demand.to_json(), now)
        async with hold(self._around.records, launch) as held:
            if held is None:
                return
            if held.launch.settled and not held.launch.ended:
                await self._carrier.finish(held, demand)
                return
            await held.save(_renew(held.launch, demand, now))
            await self._carrier.carry_on(held, demand, Message("", now, sent=now))

    async def _end_surplus(self, pool: Pool, wanted: int, demand: Demand) -> None:
        """End what is warm in slots that are not wanted now; a runner with a job is left alone."""
        for slot in range(wanted, wanted + MOST_SURPLUS):
            stored = await self._around.records.read(self._id(pool.name, slot))
            if stored is None:
                return
            if stored.ended:
                continue
            async with hold(self._around.records, stored) as held:
                if held is not None:
                    await self._carrier.settle(held, demand, "it is not kept warm any more")

    def _id(self, pool: str, slot: int) -> str:
        return identity.launch_id(self._around.deployment, "warm", pool, str(slot))


def make_demand(pool: Pool, home: str) -> Demand:
    """Make what stands for a job that is always queued and asks for all of the pool's labels."""
    own = (SELF_HOSTED, pool.offer.system, pool.offer.architecture)
    labels = (*own, *sorted(pool.offer.labels))
    return Demand(QUEUED, "", home, 0, None, None, None, 0, 0, 1, labels)


def _renew(launch: Launch, demand: Demand, now: float) -> Launch:
    """Return the launch as it goes on: thefts are what it is for, and it never gets too old.

    While it waits for room it counts as younger than every job.
    """
    if launch.settled:
        launch = replace(launch.next_try("it is kept warm again"), given_up=None, served=False)
    seen = now + DAY if launch.place is None or launch.first_seen < now else launch.first_seen
    return replace(launch, demand=demand.to_json(), first_seen=seen, thefts=0, failures=0)
