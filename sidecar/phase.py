"""The phase that a life is in: reported to log and health, never used to decide anything."""

from __future__ import annotations

import time

import structlog

log = structlog.get_logger()

STARTING = "starting"
WAITING = "waiting-for-token"
CONFIGURING = "configuring"
WARMING = "warming-relay"
LAUNCHING = "starting-listener"
IDLE = "idle"
BUSY = "busy"
DRAINING = "draining"
STOPPING = "stopping"
ALL = (STARTING, WAITING, CONFIGURING, WARMING, LAUNCHING, IDLE, BUSY, DRAINING, STOPPING)


class Phase:
    """The current phase, since when it lasts, and how long each phase took (seconds)."""

    def __init__(self) -> None:
        self.name = STARTING
        self.started = self.since = time.monotonic()
        self.durations: dict[str, float] = {}

    def enter(self, name: str, **facts: object) -> None:
        """Go on to phase `name` and log it; nothing happens if it is the current one."""
        if name == self.name:
            return
        now = time.monotonic()
        spent = now - self.since
        self.durations[self.name] = self.durations.get(self.name, 0.0) + spent
        log.info("phase.entered", phase=name, after=self.name, seconds=round(spent, 3), **facts)
        self.name, self.since = name, now

    def seconds_by_phase(self) -> dict[str, float]:
        """Return the seconds that each phase has taken so far, the current one included."""
        return self.durations | {self.name: self.durations.get(self.name, 0.0) + self.age}

    @property
    def age(self) -> float:
        """Seconds since the current phase began."""
        return time.monotonic() - self.since

    @property
    def life(self) -> float:
        """Seconds since the life began."""
        return time.monotonic() - self.started
