"""Hold a worker's resources: table, pools, GitHub, ECS, tokens; and make stages of them."""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, Self

from launcher import identity
from launcher.launch import Stages
from launcher.places import boot
from launcher.places.ec2_request import Machine
from launcher.places.ecs import Ecs
from launcher.places.request import Destination
from launcher.pools.pool import JUST_IN_TIME
from launcher.record.paces import Pace
from launcher.tokens import TokenMaker, TokenStore
from launcher.work.ordered import apply, check_account
from sidecar import github, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiobotocore.session import AioSession

    from launcher.demand.delivery import Demand
    from launcher.journal import Journal
    from launcher.places import Place, Startable
    from launcher.pools.pool import MachineKind, Pool, Pools
    from launcher.record.launch import Launch
    from launcher.record.records import Records

MAKERS_KEPT = 500
MACHINE_MARGIN = 900
"""Seconds that a machine has beside boot and life, until it ends itself whatever its agent does."""
PATIENCE = 5.0
"""Seconds that GitHub may want no requests before a message is put off for it."""


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


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast calls are made whose rate is limited: below the limit, which others share."""

    starts: float = 19.0
    """RunTask per second; AWS lets an account start 20 tasks of Fargate, and so many more at once.
    Each task costs two of SSM's 40 calls: the launcher's and the agent's own."""
    start_burst: float = 20.0
    machines: float = 2.0
    """RunInstances or CreateFleet per second: as many RunInstances as AWS lets an account call."""
    machine_burst: float = 5.0
    configurations: float = 2.0
    """Just-in-time configurations per second, of one owner: each costs five of the 900 points that
    GitHub grants a minute."""
    configuration_burst: float = 50.0
    deletions: float = 1.0
    """Tokens per second that the agents delete themselves: SSM permits an account five calls that
    delete. What comes faster is deleted by the workers, ten with one call."""
    deletion_burst: float = 50.0
    """So many are deleted within ten seconds, and no tick has to come for them."""


class Connections(Protocol):
    """GitHub, by who asks for a runner."""

    def for_demand(self, demand: Demand) -> github.Connection:
        """Return the connection to the scope that the runner of a job is registered at."""


class EcsClients:
    """A client of ECS for each cluster and container; leaving closes them."""

    def __init__(
        self,
        region: str | None = None,
        make_session: Callable[[], AioSession] | None = None,
    ) -> None:
        self._region = region
        self._make_session = make_session
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
            client = self._opened[key] = Ecs(cluster, container, self._region, self._make_session)
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
    rates: Rates = Rates()
    ec2: Place | None = None
    """EC2, for pools of machines."""
    account: str | None = None
    """The account of these clients of ECS, SSM and EC2, where it is not the launcher's own."""
    _makers: dict[tuple[object, ...], TokenMaker] = field(default_factory=dict)

    def stages(
        self, pool: Pool, labels: tuple[str, ...], demand: Demand, journal: Journal
    ) -> Stages:
        """Make the stages of a launch for a pool."""
        check_account(demand, self.account)
        connection = self.connections.for_demand(demand)
        maker = self._maker(pool, labels, connection, demand)
        destination = self.make_destination(pool, warm=demand.is_warm)
        if demand.order is not None:
            destination = apply(demand.order, destination)
        place = self._place(pool.machine is not None, pool.cluster, pool.container)
        stages = self._make_stages(place, destination, maker, connection, journal)
        return replace(stages, seals=pool.token != JUST_IN_TIME)

    def ending_stages(self, launch: Launch, demand: Demand, journal: Journal) -> Stages:
        """Make the stages that look at a launch's task and end it, whatever has become of its pool.

        Where the task is stands in its ARN, and in the request that was sent.
        """
        check_account(demand, self.account)
        cluster, container = _find_place(launch)
        connection = self.connections.for_demand(demand)
        maker, destination = TokenMaker(connection, ()), Destination(cluster, "")
        place = self._place(is_of_machine(launch), cluster, container)
        return self._make_stages(place, destination, maker, connection, journal)

    def _place(self, is_machine: bool, cluster: str, container: str) -> Place:
        if not is_machine:
            return self.ecs(cluster, container)
        assert self.ec2 is not None, "whoever has pools of machines has EC2"  # noqa: S101
        return self.ec2

    def _make_stages(
        self,
        place: Place,
        destination: Startable,
        maker: TokenMaker,
        connection: github.Connection,
        journal: Journal,
    ) -> Stages:
        return Stages(
            place,
            destination,
            self.store,
            maker,
            connection,
            self.name_prefix,
            self.deployment,
            journal,
            self.now,
            self.limit,
            self._keeps_token,
        )

    async def _keeps_token(self) -> bool:
        """Whether the next token is deleted by a worker: the agents cannot delete so many."""
        if self.account is not None:  # no worker reaches it there, and its limit is its own
            return False
        line = Pace("DeleteParameter", self.rates.deletions, self.rates.deletion_burst)
        return not await self.records.paces.take_now(line)

    def make_destination(self, pool: Pool, *, warm: bool = False) -> Startable:
        """Make the destination of a pool's tasks: the same for each, but a warm one may be idle."""
        idle = pool.clocks.life if warm else pool.clocks.idle
        if pool.machine is not None:
            return self._make_machine(pool, pool.machine, idle)
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

    def _make_machine(self, pool: Pool, kind: MachineKind, idle: int) -> Machine:
        """Make the machine of a pool. Its user data are the pool's; what differs is in a tag."""
        limits = (
            ("SIDECAR_IDLE_LIMIT", str(pool.clocks.idle)),
            ("SIDECAR_LIFETIME_LIMIT", str(pool.clocks.life)),
        )
        user_data = None
        if kind.agent is not None:
            limit = pool.clocks.boot + pool.clocks.life + MACHINE_MARGIN
            user_data = boot.write_user_data(
                boot.Boot(pool.offer.system, kind.agent, self.parameter_prefix, limit, limits)
            )
        return Machine(
            kind.launch_template,
            kind.version,
            pool.capacities,
            kind.instance_types,
            pool.network.subnets,
            pool.network.security_groups,
            kind.image,
            kind.instance_profile,
            user_data,
            tuple(sorted({**pool.tags, boot.IDLE_TAG: str(idle)}.items())),
        )

    def _maker(
        self, pool: Pool, labels: tuple[str, ...], connection: github.Connection, demand: Demand
    ) -> TokenMaker:
        policy = pool.access.to_policy()
        if demand.order is not None:  # its runner is its caller's alone, wherever it is registered
            policy = {**policy, "repositories": [demand.repository]}
            policy.pop("owners", None)
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
                patience=PATIENCE,
            )
        return made


def is_of_machine(launch: Launch) -> bool:
    """Whether a launch has a machine, or has asked for one."""
    if launch.place is not None:
        return identity.is_machine(launch.place)
    return "Operation" in json.loads(launch.request or "{}")


def asks_elsewhere(launch: Launch, pool: Pool) -> bool:
    """Whether a request whose outcome is not known went to another place than the pool's is now."""
    is_open = launch.place is None and launch.request is not None
    return is_open and is_of_machine(launch) != (pool.machine is not None)


def _find_place(launch: Launch) -> tuple[str, str]:
    """Return cluster and container of a launch's task."""
    request = json.loads(launch.request or "{}")
    overrides = request.get("overrides", {}).get("containerOverrides") or [{}]
    cluster = request.get("cluster")
    if cluster is None and launch.place is not None:
        cluster = launch.place.rpartition(":task/")[2].partition("/")[0]
    return cluster or "default", overrides[0].get("name", "runner")
