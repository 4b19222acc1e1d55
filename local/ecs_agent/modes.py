"""Say how the agent may behave, and how often it may be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

Credentials = Literal[
    "ready",
    "uninitialized",  # 503: the agent waits for them
    "unknown",  # 400: an agent that was restarted, or a task without a role
    "expired",  # 200, with a time that has passed
    "broken",  # 500
    "throttled",  # 429, whatever the rate
    "hang",  # no answer at all
]
Protection = Literal[
    "ready",
    "not-a-service",  # 200 with a failure: a task that RunTask started
    "denied",  # the task role lacks ecs:UpdateTaskProtection
    "throttled",
    "late",  # 504: ECS did not answer the agent
    "no-role",  # 403: the task has no role
    "hang",
]
CREDENTIALS = get_args(Credentials)
PROTECTION = get_args(Protection)

RATE, BURST = 40.0, 60.0
"""Requests per second, for each source address and path; the agent's defaults."""


@dataclass
class Mode:
    """The behaviour of one part of the agent, and for how many more requests."""

    name: str = "ready"
    times: int | None = None

    def take(self) -> str:
        """Return the mode for one request, and count it."""
        if self.name != "ready" and self.times is not None:
            if self.times <= 0:
                self.name, self.times = "ready", None
            else:
                self.times -= 1
        return self.name


class Buckets:
    """The rate limit: a token bucket for each source address and path."""

    def __init__(
        self, clock: Callable[[], float], rate: float = RATE, burst: float = BURST
    ) -> None:
        self._clock, self._rate, self._burst = clock, rate, burst
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def refuses(self, peer: str, path: str) -> bool:
        """Take one token; return whether there was none."""
        now = self._clock()
        left, at = self._left.get((peer, path), (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        taken = 0 if left < 1 else 1
        self._left[peer, path] = (left - taken, now)
        return not taken
