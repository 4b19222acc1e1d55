"""Say what a pool is: what can be started, for which labels, for whom, and how many."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from launcher.pools.labels import rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from launcher.places.boot import AgentSource
    from launcher.pools.access import Access
    from launcher.pools.callers import Caller, GaroCaller
    from launcher.pools.labels import Match, Offer
    from launcher.pools.schedules import Schedule

FARGATE, FARGATE_SPOT, EC2 = "FARGATE", "FARGATE_SPOT", "EC2"
TASKS, MACHINES = "ecs", "ec2"
"""Where a pool's runners live: in tasks of ECS, or on machines of EC2."""
JUST_IN_TIME, REGISTRATION = "just-in-time", "registration"


@dataclass(frozen=True, slots=True)
class Network:
    """The network of a pool's tasks, in awsvpc mode."""

    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    public_ip: bool = False


@dataclass(frozen=True, slots=True)
class Clocks:
    """The limits of each part of a runner's life, in seconds."""

    provisioning: int
    """From RunTask to placed, where a capacity provider has to start a machine first."""
    boot: int
    """From placed to online."""
    idle: int
    """From online to a job."""
    life: int
    """From placed to the end, whatever GitHub says."""


@dataclass(frozen=True, slots=True)
class MachineKind:
    """The machines of a pool on EC2; what is None or empty is the launch template's own."""

    launch_template: str
    """Its id or its name."""
    version: str
    instance_types: tuple[str, ...]
    """In order of preference."""
    image: str | None
    instance_profile: str | None
    agent: AgentSource | None
    """Where the agent comes from by the launcher's user data; None: the template has its own."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A kind of task or machine that can be started, the labels that it serves, and for whom."""

    name: str
    offer: Offer
    task_definition: str
    """Family, family:revision or ARN; empty where it has machines."""
    cluster: str
    container: str
    """The runner's container in the task definition."""
    launch_type: str | None
    capacities: tuple[str, ...]
    """Capacity providers in the order in which they are tried; with none of both, the cluster's."""
    cpu: int | None
    """CPU units; None leaves it to the task definition, as for the next two."""
    memory: int | None
    """MiB."""
    ephemeral_storage: int | None
    """GiB."""
    network: Network
    clocks: Clocks
    maximum: int
    """Starts under way and living runners, together."""
    minimum: int
    """Warm runners where no schedule covers the hour."""
    schedules: tuple[Schedule, ...]
    access: Access
    runner_group: str | None
    token: str
    """JUST_IN_TIME or REGISTRATION."""
    tags: Mapping[str, str] = field(default_factory=dict)
    rerun_interrupted: bool = False
    """Whether a run is run again, once and without Spot, when Spot took a task with its job."""
    machine: MachineKind | None = None
    """Where its runners live on machines of EC2; then it has no task definition, and its capacities
    are spot and on-demand."""

    def without_spot(self) -> Pool:
        """Return the pool as it is without Spot capacity; unchanged where it has nothing else."""
        kept = tuple(name for name in self.capacities if "spot" not in name.lower())
        if kept or FARGATE_SPOT not in self.capacities:
            return replace(self, capacities=kept or self.capacities)
        # The cluster may not have the provider FARGATE; as launch type it is there always.
        return replace(self, capacities=(), launch_type=FARGATE)

    def minimum_at(self, now: datetime) -> int:
        """Return how many runners are to be warm at `now`, which has a time zone."""
        covering = [schedule.minimum for schedule in self.schedules if schedule.covers(now)]
        return max(covering, default=self.minimum)


@dataclass(frozen=True, slots=True)
class Pools:
    """All pools of a document, by name and in its order."""

    by_name: Mapping[str, Pool]
    callers: tuple[Caller, ...] = ()
    """Who may start runners by the API."""
    garo: tuple[GaroCaller, ...] = ()
    """The same by GARO's contract."""

    def __iter__(self) -> Iterator[Pool]:
        """Go through the pools."""
        return iter(self.by_name.values())

    @property
    def offers(self) -> dict[str, Offer]:
        """Return what each pool offers, for `launcher.pools.labels`."""
        return {pool.name: pool.offer for pool in self}

    @property
    def names_elsewhere(self) -> frozenset[str]:
        """Return the names of pools that some caller has started in an account of its own."""
        named = {name for each in self.callers if each.account is not None for name in each.pools}
        return frozenset(named.union(*(each.types.values() for each in self.garo)))

    def rank(self, labels: Iterable[str]) -> Iterator[tuple[Pool, Match]]:
        """Yield the pools that match the labels, the best first."""
        for match in rank(labels, self.offers):
            yield self.by_name[match.pool], match
