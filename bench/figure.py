"""A figure: a measured number, and its limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMITS = {
    "startup_vs_floor": 1.25,
    "startup_vs_shell": 0.8,
    "wine_startup_vs_floor": 1.25,
    "idle_stop_ms": 150,
    "stop_over_budget": 0.95,
    "rss_vs_floor": 1.2,
    "idle_cpu_ms_per_min": 20,
    "health_cpu_ms": 60,
    "fleet_start_vs_limit": 1.25,
    "launch_fleet_vs_limit": 1.25,
    "github_calls_per_job": 0.05,
    "sweep_vs_limit": 1.2,
    "relay_p99_vs_nginx": 1.2,
    "relay_burst_p99_ms": 250,
    "relay_burst_upstream_calls": 1,
    "docker_run_overhead_ms": 5,
    "proxy_rss_growth_mib": 8,
    "job_role_ms": 150,
    "job_role_vs_floor": 2.5,
    "queued_to_runtask_ms": 100,
    "api_to_runinstances_ms": 100,
    "lambda_cold_vs_floor": 3.0,
}
"""The most that each figure may be."""

LEAST = {
    "relay_vs_nginx": 0.75,
    "docker_save_ratio": 0.9,
    "proxy_splice_ratio": 0.4,
    "webhook_vs_floor": 0.8,
    "api_vs_floor": 0.8,
}
"""The least that each of these may be: for a speed, more is better."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that has a limit, and the readings that it was made of."""

    key: str
    value: float
    measured: str
    """The agent's own reading, with its unit."""
    beside: str = ""
    """The reading that it is compared with, with its unit."""
    parts: dict[str, float] = field(default_factory=dict)
    """The readings themselves, written beside the figure so that two machines can be compared."""

    @property
    def limit(self) -> float:
        """The most, or the least, that the value may be."""
        return LEAST[self.key] if self.key in LEAST else LIMITS[self.key]

    @property
    def met(self) -> bool:
        """Whether it is within its limit."""
        return self.value >= self.limit if self.key in LEAST else self.value <= self.limit


def typical(readings: Sequence[float]) -> float:
    """Return the median, so that one busy moment of the machine does not decide."""
    return float(median(readings))
