"""Say what a pool is: what can be started, for which labels, for whom, and how many."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from launcher.pools.labels import rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from launcher.pools.access import Access
    from launcher.pools.labels import Match, Offer
    from launcher.pools.schedules import Schedule

FARGATE, FARGATE_SPOT, EC2 = "FARGATE", "FARGATE_SPOT", "EC2"
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
class Pool:
    """A kind of task that can be started, the labels that it serves, and for whom."""

    name: str
    offer: Offer
    task_definition: str
    """Family, family:revision or ARN."""
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

    def __iter__(self) -> Iterator[Pool]:
        """Go through the pools."""
        return iter(self.by_name.values())

    @property
    def offers(self) -> dict[str, Offer]:
        """Return what each pool offers, for `launcher.pools.labels`."""
        return {pool.name: pool.offer for pool in self}

    def rank(self, labels: Iterable[str]) -> Iterator[tuple[Pool, Match]]:
        """Yield the pools that match the labels, the best first."""
        for match in rank(labels, self.offers):
            yield self.by_name[match.pool], match
