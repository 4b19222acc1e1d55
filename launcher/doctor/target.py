"""Say what the launcher would start: a pool's tasks, or those of the settings themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.pools.pool import FARGATE, FARGATE_SPOT, REGISTRATION, Network

if TYPE_CHECKING:
    from launcher.pools.pool import Pool
    from launcher.settings import DoctorSettings

FARGATE_KINDS = (FARGATE, FARGATE_SPOT)


@dataclass(frozen=True, slots=True)
class Target:
    """Tasks of one kind."""

    name: str
    """Its name in lines: `pool NAME`, or `the tasks`."""
    task_definition: str
    cluster: str
    container: str
    capacities: tuple[str, ...]
    launch_type: str | None
    network: Network
    maximum: int
    cpu: int | None = None
    """CPU units; None leaves it to the task definition."""
    group: str | None = None
    just_in_time: bool = True
    repositories: frozenset[str] = frozenset()
    """Repositories that it serves by name, as owner/name."""

    @property
    def fargate(self) -> tuple[str, ...]:
        """The kinds of Fargate's capacity that it asks for; none where it has machines."""
        kinds = self.capacities or (self.launch_type,)
        return tuple(kind for kind in FARGATE_KINDS if kind in kinds)


def of_pool(pool: Pool) -> Target:
    """Return what a pool starts."""
    return Target(
        f"pool {pool.name}",
        pool.task_definition,
        pool.cluster,
        pool.container,
        pool.capacities,
        pool.launch_type,
        pool.network,
        pool.maximum,
        pool.cpu,
        pool.runner_group,
        just_in_time=pool.token != REGISTRATION,
        repositories=frozenset(name for name in pool.access.repositories if "*" not in name),
    )


def of_settings(settings: DoctorSettings) -> Target | None:
    """Return what `start` with these settings would start; None where no definition is named."""
    if settings.task_definition is None:
        return None
    return Target(
        "the tasks",
        settings.task_definition,
        settings.cluster or "default",
        settings.container,
        settings.capacity_providers,
        settings.launch_type,
        Network(settings.subnets, settings.security_groups, settings.public_ip),
        1,
        None,
        settings.runner_group,
        just_in_time=settings.just_in_time,
    )
