"""Close an order in an account that cannot be reached any more, once its runner is over.

Its role was removed there, or does not trust the API any more, or its caller is not listed. Nobody
can look at its task, or stop it: but its agent ends it by the limits of its pool, as it does where
nobody looks. Until then each look fails, and says why; after that the order is closed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from launcher.api.answers import Refused
from launcher.errors import describe
from launcher.launch_runners import LaunchRunners
from launcher.record.launch import LONGEST_REASON
from launcher.work.carrying import DAY
from launcher.work.ending import Ending
from launcher.work.held import hold
from launcher.work.limits import boot_limit
from launcher.work.pool_rules import PoolRules
from launcher.work.resources import MACHINE_MARGIN
from sidecar.aws import calls

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.record.launch import Launch
    from launcher.work import Resources

log = structlog.get_logger()

LONGEST = 2 * DAY
"""Seconds after which no runner is waited for, whatever its pool says: its record is kept for three
days after it was last written, and with the record its places in the counters would be lost."""


class NotListed(Refused):
    """The account of an order is not listed for its caller any more."""

    def __init__(self, account: str, caller: str) -> None:
        super().__init__(403, f"the account {account} of {caller} is not listed any more")


UNREACHABLE = (NotListed, calls.AccessDenied)
"""Errors where an account cannot be reached, and that does not pass by itself."""


async def close_unreachable(
    around: Resources, launch: Launch, demand: Demand, error: NotListed | calls.AccessDenied
) -> Launch:
    """Close an order whose runner must have ended by itself; return it as it is then.

    Raises `error` where the order is in the launcher's own account, or where its runner may live,
    and SidecarError.
    """
    if launch.ended:
        return launch
    order = demand.order
    if order is None or order.account is None or _may_live(around, launch):
        raise error
    runners = LaunchRunners(around.connections.for_demand(demand), around.name_prefix)
    async with hold(around.records, launch) as held:
        if held is None:
            return launch
        task = held.launch.place
        is_over = task is None or await runners.delete_all(held.launch)
        if is_over:
            reason = f"the account {order.account} cannot be reached: {describe(error)}"
            if not held.launch.settled:
                told = held.launch.with_reason(reason)
                await held.save(replace(told, given_up=reason[:LONGEST_REASON]))
            await Ending(around, PoolRules(around)).close(held)
            log.error(
                "order.abandoned",
                launch=launch.id,
                caller=order.caller,
                account=order.account,
                task=task,
                reason=reason,
            )
    if not is_over:  # its runner has a job, so its task lives
        raise error
    return held.launch


def _may_live(around: Resources, launch: Launch) -> bool:
    """Return whether a launch's task may live still, by the limits at which its agent ends it."""
    pool = around.pools().by_name.get(launch.pool)
    life = DAY if pool is None else boot_limit(pool) + pool.clocks.life + MACHINE_MARGIN
    # Where it is not known whether a task was placed, the request is no older than a day.
    begun = launch.placed_at or launch.first_seen + DAY
    return around.now() - begun < min(life, LONGEST)
