"""Start the task of a launch, where pool, account and AWS have room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from launcher.places import Later, Refused, Started, Why
from launcher.record.table import Full
from launcher.work import pauses
from launcher.work.resources import PutOff
from launcher.work.turns import Turns

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.launch import Stages
    from launcher.pools.pool import Pool
    from launcher.record.launch import Launch
    from launcher.work.held import Held
    from launcher.work.pool_rules import PoolRules
    from launcher.work.resources import Resources

log = structlog.get_logger()


class Placing:
    """Starts tasks. The caller holds the launch's lease."""

    def __init__(self, around: Resources, rules: PoolRules) -> None:
        self._around = around
        self._rules = rules
        self.turns = Turns(around)

    async def place(self, held: Held, stages: Stages, pool: Pool, demand: Demand) -> PutOff | None:
        """Have a task for the launch; say how long to wait where there is no room now."""
        state = await self._rules.check(held.launch)
        if isinstance(state, PutOff):
            if held.launch.request is None:  # the one that goes first may need its place
                await held.give_places()
            return state
        try:
            await held.take_places(self._limits(pool, demand))
        except Full as full:
            seconds = self._around.chance.uniform(5, 15)
            await self._rules.wait_for_room(held.launch, seconds)
            return PutOff(seconds, str(full))
        if (later := await self.turns.wait(held, pool, stages.connection)) is not None:
            return later
        if (later := await self._rules.try_stopped(held.launch, state)) is not None:
            return later
        launch, placement = await stages.place(held.launch)
        if isinstance(placement, Later) and placement.why is Why.THROTTLE:
            await self.turns.count_refused(pool)  # its own turn stays
        else:
            self.turns.end(held)
        if isinstance(placement, Started):
            await self._rules.stop_waiting(launch, state)
            return None
        return await self._put_off_task(launch, pool, placement)

    async def _put_off_task(self, launch: Launch, pool: Pool, placement: Later | Refused) -> PutOff:
        seconds = pauses.pause_for(placement, launch.round, self._around.chance)
        facts = {"launch": launch.id, "pool": pool.name, "reason": placement.reason}
        if isinstance(placement, Refused):
            log.error("task.refused", **facts, seconds=round(seconds))
            await self._rules.count_failure(pool.name, placement.reason)
            return PutOff(seconds, placement.reason)
        say = log.error if placement.why is Why.QUOTA else log.warning
        say("task.delayed", **facts, why=placement.why, seconds=round(seconds))
        if placement.why is not Why.THROTTLE:
            await self._rules.wait_for_room(launch, seconds)
        return PutOff(seconds, placement.reason)

    def _limits(self, pool: Pool, demand: Demand) -> dict[str, int]:
        maxima = self._around.maxima
        limits = {f"pool/{pool.name}": pool.maximum}
        if demand.order is not None:
            limits[f"caller/{demand.order.caller}"] = demand.order.maximum
        if maxima.repository is not None:
            limits[f"repository/{demand.repository_id}"] = maxima.repository
        if maxima.account is not None:
            limits["account"] = maxima.account
        return limits
