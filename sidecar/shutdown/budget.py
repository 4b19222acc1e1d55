"""The stop budget: the time between the stop signal and the kill, cut into stages.

ECS sends SIGTERM and, `stopTimeout` seconds later, SIGKILL. Every stage is a moment, in seconds
after the stop began. All of its constants are here.
"""

from __future__ import annotations

from dataclasses import dataclass

CANCEL_SECONDS = 25.0
"""A job is interrupted so many seconds before the end: the runner takes up to 10 s to cancel it."""
KILL_SECONDS, KILL_SHARE = 3.0, 0.8
"""The runner is killed so many seconds before the end, or after this share, whichever is later."""
CLEANUP_SHARE = 0.4
"""The share of the time after the kill in which cleanup steps may go on."""
KILLED_SHARE = 0.5
"""The share of that time in which the processes of a job may be killed before the rest begins."""
CONTAINERS_SHARE = 0.7
"""The share of that time in which a job's containers may be removed before the network rules."""
IDLE_SHARE = 0.5
"""The share in which an idle runner may be deregistered before its listener is interrupted."""
FINISH_SHARE = 0.5
"""The share in which an operation that is better finished than cut may finish."""
HURRIED_STEP = 2.0
"""Seconds that each cleanup step still has after a third signal."""
SHORTEST = 1.0
"""Seconds of a budget that is nearly used up when it begins."""
CANCELLED_STEP = 0.1
"""Seconds that a cancelled cleanup step may take to end."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The stages of a stop; `total` is the stop timeout in seconds."""

    total: float

    @property
    def finish(self) -> float:
        """Until here an operation that has begun may finish."""
        return FINISH_SHARE * self.total

    @property
    def deregister(self) -> float:
        """Until here an idle runner may be deregistered before its listener is interrupted."""
        return max(self.interrupt, IDLE_SHARE * self.total)

    @property
    def interrupt(self) -> float:
        """Here a job that still runs is interrupted."""
        return max(0.0, self.total - CANCEL_SECONDS)

    @property
    def kill(self) -> float:
        """Here the runner is killed, with everything that it started."""
        return max(KILL_SHARE * self.total, self.total - KILL_SECONDS)

    @property
    def killed(self) -> float:
        """Until here what a job left may be searched for and killed before all the rest."""
        return self.kill + KILLED_SHARE * (self.end - self.kill)

    @property
    def containers(self) -> float:
        """Until here what the job made at the docker daemon may be removed before all the rest."""
        return self.kill + CONTAINERS_SHARE * (self.end - self.kill)

    @property
    def end(self) -> float:
        """Here cleanup steps are cancelled; the rest is for the interpreter's own exit."""
        return self.kill + CLEANUP_SHARE * (self.total - self.kill)
