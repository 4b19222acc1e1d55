"""Start tasks and machines: each file is one place, with the verbs start, look, stop.

A place gives one of three answers, and each means something else to do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """A reason for which a task can be started only later."""

    CAPACITY = "capacity"
    """There is no room now: another provider may have some, or this one in some minutes."""
    QUOTA = "quota"
    """The account has reached a limit: another provider does not help."""
    THROTTLE = "throttle"
    """Too many calls in a second: the same call works soon."""


@dataclass(frozen=True, slots=True)
class Started:
    """There is a task."""

    task: str
    """Its ARN."""
    adopted: bool = False
    """Whether it was there before: an earlier call, whose answer may be lost, has started it."""


@dataclass(frozen=True, slots=True)
class Later:
    """There is no task yet, and asking again later may help."""

    why: Why
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no task, and there will be none until somebody changes what `reason` names."""

    reason: str


Placement = Started | Later | Refused


@dataclass(frozen=True, slots=True)
class TaskState:
    """A task as its place describes it."""

    task: str
    status: str
    """PROVISIONING, PENDING, RUNNING and others, at last STOPPED: ECS's own words."""
    stopping: bool
    """Whether it has ended, or is about to."""
    exit_code: int | None
    """Of the agent; None if it has none, which is never a success."""
    reason: str
    """Why it ended, in ECS's words."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.status == "STOPPED"
