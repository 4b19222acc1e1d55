"""Hold what a sweep works with: clients of AWS and GitHub, what is ours, and the clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.places.ec2 import Ec2
    from launcher.places.ecs import Ecs
    from launcher.pools.pool import Pools
    from launcher.sweep.claims import Claims
    from launcher.sweep.parameters import Parameters
    from sidecar import github


class Connections(Protocol):
    """GitHub, by the scope of runners."""

    def connect_to(self, url: str) -> github.Connection | None:
        """Return the connection to a scope by its URL; None where it is of another GitHub."""


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
    connections: Connections
    ecs: Callable[[str], Ecs]
    """Returns the client for a cluster."""
    clusters: tuple[str, ...] = ()
    """Those that the settings name."""
    scopes: tuple[str, ...] = ()
    """The URLs of scopes that the settings name."""
    ec2: Ec2 | None = None
    pools: Callable[[], Pools] | None = None
    limits: Limits = Limits()
    now: Callable[[], float] = time.time
