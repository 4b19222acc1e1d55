"""Start, look at and stop what callers have ordered, by the stages of every launch.

Nothing waits here: each call takes the stages that are open. Whoever calls again, with the same
order, goes on with the same launch. What this process has begun it looks after by itself as well,
once a minute, until it has ended; and what any process has begun in another account, where no event
tells a worker of its end.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from launcher.api.accounts import Guest
from launcher.api.answers import Refused
from launcher.api.unreachable import UNREACHABLE, NotListed, close_unreachable
from launcher.demand.delivery import Demand
from launcher.demand.message import Message
from launcher.errors import describe
from launcher.jobs import Jobs
from launcher.record.launch import Launch
from launcher.work.admission import Admission
from launcher.work.carrying import Carrier
from launcher.work.held import hold
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.api.accounts import Accounts
    from launcher.work import Resources
    from launcher.work.held import Held

log = structlog.get_logger()

HELD = 2.0
"""Seconds until it is worth another try where somebody else carries the launch on."""
MOST_TENDED = 10_000
"""Launches that this process looks after by itself."""
STOPPED = "its caller has stopped it"


class Orders:
    """The orders of all callers."""

    def __init__(self, around: Resources, accounts: Accounts) -> None:
        self._around = around
        self._accounts = accounts
        self._living: dict[str, None] = {}

    async def find(self, id_: str) -> tuple[Launch, Demand] | None:
        """Find an order; None where there is none. Raises AwsError."""
        stored = await self._around.records.read(id_)
        if stored is None or not stored.demand:
            return None
        demand = Demand.from_json(stored.demand)
        return (stored, demand) if demand.order is not None else None

    async def start(self, id_: str, pool: str, demand: Demand) -> Launch:
        """Start what is ordered, or recognise it; at most one task comes of it.

        Raises Refused where nothing could be started now, and SidecarError where that is not known.
        """
        found = await self.find(id_)
        if found is not None and _is_begun(found[0]):
            return found[0]
        launch, demand = found or (
            Launch(id_, pool, demand.to_json(), self._around.now()),
            demand,
        )
        async with self._carrier(demand) as (around, carrier), hold(around.records, launch) as held:
            if held is None:
                raise Refused(409, "it is being started: ask again", again_in=HELD)
            self._tend(id_)
            if around.account is not None:
                await around.records.open_order(id_)
            later = await carrier.carry_on(held, demand, self._message())
            launch = held.launch
            if not _is_begun(launch):
                await held.give_places()
                await self._forget(id_, demand)
        # Not inside the block: only there the lease has ended, and the next try may begin at once.
        if launch.place is None and not launch.settled:
            reason = later.reason if later is not None else "it cannot be started"
            seconds = later.seconds if later is not None else HELD
            raise Refused(503, f"nothing is started: {reason}", again_in=seconds)
        _tell_taken(launch, demand)
        return launch

    async def look(self, launch: Launch, demand: Demand) -> Launch:
        """Go on with an order that was started; return it as it is now.

        Raises Refused where its account is not listed any more, and SidecarError.
        """
        if launch.ended or not _is_begun(launch):
            return launch
        try:
            return await self._look(launch, demand)
        except UNREACHABLE as error:
            return await close_unreachable(self._around, launch, demand, error)

    async def _look(self, launch: Launch, demand: Demand) -> Launch:
        async with self._carrier(demand) as (around, carrier), hold(around.records, launch) as held:
            if held is None:
                return launch
            await carrier.carry_on(held, demand, self._message())
            await self._see_online(around, held, demand)
            return held.launch

    async def stop(self, launch: Launch, demand: Demand) -> Launch:
        """End what was started, unless its runner has a job. Raises Refused, SidecarError."""
        try:
            return await self._stop(launch, demand)
        except UNREACHABLE as error:
            return await close_unreachable(self._around, launch, demand, error)

    async def _stop(self, launch: Launch, demand: Demand) -> Launch:
        async with self._carrier(demand) as (around, carrier), hold(around.records, launch) as held:
            if held is None:
                raise Refused(409, "it is being started: ask again", again_in=HELD)
            self._tend(launch.id)
            await carrier.settle(held, demand, STOPPED)
            return held.launch

    async def tend(self) -> None:
        """Look once at each launch that is looked after here; forget those that have ended.

        In another order each time: where there is no time for all, it is not always the same ones
        that are left out. Raises AwsError where the open orders cannot be read.
        """
        opened = await self._around.records.list_open_orders()
        ids = list(dict.fromkeys([*self._living, *opened]))
        self._around.chance.shuffle(ids)
        for id_ in ids:
            try:
                found = await self.find(id_)
                if found is not None and await self._give_places(found[0]):
                    found = None
                launch = await self.look(*found) if found is not None else None
                if launch is None or launch.ended:
                    await self._forget(id_, None if id_ in opened or found is None else found[1])
            except (Refused, SidecarError) as error:
                log.warning("order.failed", launch=id_, reason=describe(error))

    async def _give_places(self, launch: Launch) -> bool:
        """Take a launch out of the counters that has ended or never begun; False for others.

        Whoever wrote that, or was about to begin, may have died then.
        """
        if not launch.ended and _is_begun(launch):
            return False
        async with hold(self._around.records, launch) as held:
            if held is None or not (held.launch.ended or not _is_begun(held.launch)):
                return False
            await held.give_places()
        return True

    # -- with what -----------------------------------------------------------------------------

    @asynccontextmanager
    async def _carrier(self, demand: Demand) -> AsyncIterator[tuple[Resources, Carrier]]:
        """Return what carries a launch on, in the account that it belongs to."""
        guest = self._find_guest(demand)
        if guest is None:
            yield self._around, _make_carrier(self._around)
            return
        async with self._accounts.open(guest) as resources:
            yield resources, _make_carrier(resources)

    def _find_guest(self, demand: Demand) -> Guest | None:
        order, pools = demand.order, self._around.pools()
        assert order is not None  # noqa: S101  `find` and the API have made sure
        if order.account is None:
            return None
        tags = (("Repository", demand.repository), ("RepositoryId", str(demand.repository_id)))
        guests = [
            Guest(each.account, each.name, None, (("Caller", each.name), *tags))
            for each in pools.callers
            if each.account is not None
        ]
        guests += [Guest(each.account, each.name, each.region) for each in pools.garo]
        for guest in guests:
            # By both: its caller may have another account by now, and its task stays where it is.
            if (guest.caller, guest.account.number) == (order.caller, order.account):
                return guest
        raise NotListed(order.account, order.caller)

    async def _see_online(self, around: Resources, held: Held, demand: Demand) -> None:
        """Ask GitHub whether the runner is online: no webhook tells it of an order."""
        launch = held.launch
        if launch.online or launch.settled or not launch.handed_over:
            return
        pool = around.pools().by_name.get(launch.pool)
        if pool is None:
            return
        if await around.stages(pool, demand.labels, demand, held).runners.is_online(launch):
            await held.save(replace(launch, online=True))
            log.info("runner.online", launch=launch.id, task=launch.place)

    async def _forget(self, id_: str, demand: Demand | None) -> None:
        """Look no more after an order: it has ended, or has not begun, or its record is gone."""
        self._living.pop(id_, None)
        order = demand.order if demand is not None else None
        if order is None or order.account is not None:
            await self._around.records.close_order(id_)

    def _tend(self, id_: str) -> None:
        if len(self._living) < MOST_TENDED:
            self._living[id_] = None

    def _message(self) -> Message:
        now = self._around.now()
        return Message("", now, sent=now)


def _tell_taken(launch: Launch, demand: Demand) -> None:
    order = demand.order
    log.info(
        "order.taken",
        launch=launch.id,
        caller=order.caller if order is not None else "",
        repository=demand.repository,
        pool=launch.pool,
        task=launch.place,
    )


def _make_carrier(around: Resources) -> Carrier:
    jobs = Jobs(around.records.runs)
    return Carrier(around, jobs, Admission(around, jobs))


def _is_begun(launch: Launch) -> bool:
    """Whether something was started, or may have been; a start that was put off has not."""
    was_sent = launch.place is not None or launch.request is not None
    return was_sent or launch.settled or launch.tries > 1
