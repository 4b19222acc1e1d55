"""Hold a worker's resources: table, pools, GitHub, ECS, tokens; and make stages of them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from launcher.launch import Journal, Stages
from launcher.places.ecs import Ecs
from launcher.places.request import Destination
from launcher.pools.pool import JUST_IN_TIME
from launcher.tokens import TokenMaker, TokenStore
from sidecar import github, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.demand.delivery import Demand
    from launcher.pools.pool import Pool, Pools
    from launcher.record.launch import Launch
    from launcher.record.records import Records

MAKERS_KEPT = 500


@dataclass(frozen=True, slots=True)
class PutOff:
    """The answer "later": a new message with the same body."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Maxima:
    """The most launches that may be under way or living, beside each pool's own maximum."""

    repository: int | None = None
    """Of each repository."""
    account: int | None = None
    """Of all pools together."""


class Connections(Protocol):
    """GitHub, by who asks for a runner."""

    def for_demand(self, demand: Demand) -> github.Connection:
        """Return the connection to the scope that the runner of a job is registered at."""


class EcsClients:
    """A client of ECS for each cluster and container; leaving closes them."""

    def __init__(self, region: str | None = None) -> None:
        self._region = region
        self._opened: dict[tuple[str, str], Ecs] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def __call__(self, cluster: str, container: str) -> Ecs:
        """Return the client for a cluster; its connection is opened on its first call."""
        key = cluster, container
        if key not in self._opened:
            client = self._opened[key] = Ecs(cluster, container, self._region)
            self._stack.push_async_exit(client)
        return self._opened[key]


@dataclass(frozen=True)
class Resources:
    """The resources of a worker."""

    records: Records
    pools: Callable[[], Pools]
    """Return the pools of now."""
    connections: Connections
    ecs: Callable[[str, str], Ecs]
    """Return the client for a cluster and the agent's container; `EcsClients` is one."""
    store: TokenStore
    deployment: str
    name_prefix: str
    parameter_prefix: str
    maxima: Maxima = Maxima()
    now: Callable[[], float] = time.time
    chance: random.Random = field(default_factory=random.Random)
    limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(10))
    """Of requests to start a task that are under way at once."""
    _makers: dict[tuple[object, ...], TokenMaker] = field(default_factory=dict)

    def stages(
        self, pool: Pool, labels: tuple[str, ...], demand: Demand, journal: Journal
    ) -> Stages:
        """Make the stages of a launch for a pool."""
        connection = self.connections.for_demand(demand)
        maker = self._maker(pool, labels, connection)
        destination = self.make_destination(pool, warm=demand.is_warm)
        return self._make_stages(destination, pool.container, maker, connection, journal)

    def ending_stages(self, launch: Launch, demand: Demand, journal: Journal) -> Stages:
        """Make the stages that look at a launch's task and end it, whatever has become of its pool.

        Where the task is stands in its ARN, and in the request that was sent.
        """
        cluster, container = _find_place(launch)
        connection = self.connections.for_demand(demand)
        maker, destination = TokenMaker(connection, ()), Destination(cluster, "")
        return self._make_stages(destination, container, maker, connection, journal)

    def _make_stages(
        self,
        destination: Destination,
        container: str,
        maker: TokenMaker,
        connection: github.Connection,
        journal: Journal,
    ) -> Stages:
        return Stages(
            self.ecs(destination.cluster, container),
            destination,
            self.store,
            maker,
            connection,
            self.name_prefix,
            self.deployment,
            journal,
            self.now,
            self.limit,
        )

    def make_destination(self, pool: Pool, *, warm: bool = False) -> Destination:
        """Make the destination of a pool's tasks: the same for each, but a warm one may be idle."""
        idle = pool.clocks.life if warm else pool.clocks.idle
        return Destination(
            pool.cluster,
            pool.task_definition,
            pool.container,
            pool.capacities,
            pool.launch_type,
            pool.network.subnets,
            pool.network.security_groups,
            pool.network.public_ip,
            (
                ("SIDECAR_IDLE_LIMIT", str(idle)),
                ("SIDECAR_LIFETIME_LIMIT", str(pool.clocks.life)),
                ("SIDECAR_TOKEN_PARAMETER", f"{self.parameter_prefix}/{values.TASK}"),
            ),
            pool.cpu,
            pool.memory,
            pool.ephemeral_storage,
            tuple(sorted(pool.tags.items())),
        )

    def _maker(
        self, pool: Pool, labels: tuple[str, ...], connection: github.Connection
    ) -> TokenMaker:
        policy = pool.access.to_policy()
        key = (connection.url, labels, pool.runner_group, pool.token, json.dumps(policy))
        if (made := self._makers.get(key)) is None:
            if len(self._makers) >= MAKERS_KEPT:
                self._makers.clear()
            made = self._makers[key] = TokenMaker(
                connection,
                labels,
                group=pool.runner_group,
                just_in_time=pool.token == JUST_IN_TIME,
                policy=policy,
            )
        return made


def _find_place(launch: Launch) -> tuple[str, str]:
    """Return cluster and container of a launch's task."""
    request = json.loads(launch.request or "{}")
    overrides = request.get("overrides", {}).get("containerOverrides") or [{}]
    cluster = request.get("cluster")
    if cluster is None and launch.place is not None:
        cluster = launch.place.rpartition(":task/")[2].partition("/")[0]
    return cluster or "default", overrides[0].get("name", "runner")
