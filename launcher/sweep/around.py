"""Hold what a sweep works with: clients of AWS and GitHub, what is ours, and the clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.demand.queue import Queue
    from launcher.places.ec2 import Ec2
    from launcher.places.ecs import Ecs
    from launcher.pools.pool import Pool, Pools
    from launcher.record.records import Records
    from launcher.sweep.claims import Claims
    from launcher.sweep.hub import Hub
    from launcher.sweep.pacing import Pace
    from launcher.sweep.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Limits:
    """The times of tasks and machines that no pool tells, in seconds."""

    boot: float = 1800.0
    life: float | None = None


@dataclass(frozen=True)
class Around:
    """The resources of a sweep."""

    claims: Claims
    parameters: Parameters
    hub: Hub
    ecs: Callable[[str], Ecs]
    """Returns the client for a cluster."""
    ec2: Ec2
    removals: Pace
    """Of calls that remove runners: GitHub's limits are shared with what starts them."""
    server: str
    """The URL of the GitHub whose jobs are served."""
    clusters: tuple[str, ...] = ()
    """Those that the settings name."""
    scopes: tuple[str, ...] = ()
    """The URLs of scopes that the settings name."""
    machines: bool = False
    """There may be machines that belong to no pool."""
    pools: Callable[[], Pools] | None = None
    records: Records | None = None
    queue: Queue | None = None
    limits: Limits = Limits()
    now: Callable[[], float] = time.time

    @property
    def has_machines(self) -> bool:
        """Say whether EC2 is looked at."""
        return self.machines or any(pool.machine is not None for pool in self.list_pools())

    def list_pools(self) -> list[Pool]:
        """Return the pools of now; none where there is no document of them."""
        return [*self.pools()] if self.pools is not None else []

    def list_pool_clusters(self) -> list[str]:
        """Return the clusters of the pools that start tasks in this account.

        A pool of callers with accounts of their own is left out: what is of it here all the same
        has a record or a token, which names its cluster.
        """
        elsewhere = self.pools().names_elsewhere if self.pools is not None else frozenset[str]()
        pools = [pool for pool in self.list_pools() if pool.name not in elsewhere]
        return [pool.cluster for pool in pools if pool.machine is None]

    def find_pool(self, name: str) -> Pool | None:
        """Find a pool by its name."""
        return self.pools().by_name.get(name) if self.pools is not None else None

    def serves(self, repository: str, labels: Sequence[str]) -> bool:
        """Say whether some pool has a job's labels, for its repository; without pools it may be."""
        if self.pools is None:
            return True
        found = (pool for pool, _ in self.pools().rank(labels))
        return any(pool.access.admits_repository(repository) for pool in found)
