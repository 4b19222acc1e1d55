"""Say how long the parts of a runner's life may take, by the clocks of its pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.pools.pool import FARGATE, FARGATE_SPOT

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.pools.pool import Pool

MARGIN = 300.0
"""Seconds that an agent may need to end, when it has been idle for too long."""


def boot_limit(pool: Pool) -> float:
    """Return the seconds from RunTask until the runner must be online."""
    if pool.machine is not None:
        return float(pool.clocks.boot)
    fargate = {pool.launch_type, *pool.capacities} & {FARGATE, FARGATE_SPOT}
    return float(pool.clocks.boot if fargate else pool.clocks.provisioning + pool.clocks.boot)


def own_end(pool: Pool, demand: Demand) -> float:
    """Return the seconds from RunTask after which a runner without a job has ended by itself."""
    idle = pool.clocks.life if demand.is_warm else pool.clocks.idle
    return boot_limit(pool) + idle + MARGIN
