"""Start tasks and machines: each file is one place, with the verbs start, look, stop.

A place gives one of three answers, and each means something else to do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Why(StrEnum):
    """A reason for which a task can be started only later."""

    CAPACITY = "capacity"
    """There is no room now: another provider may have some, or this one in some minutes."""
    QUOTA = "quota"
    """The account has reached a limit: another provider does not help, unless the place says so."""
    THROTTLE = "throttle"
    """Too many calls in a second: the same call works soon."""


@dataclass(frozen=True, slots=True)
class Started:
    """There is a task."""

    task: str
    """Its ARN; a machine's instance id."""
    adopted: bool = False
    """Whether it was there before: an earlier call, whose answer may be lost, has started it."""


@dataclass(frozen=True, slots=True)
class Later:
    """There is no task yet, and asking again later may help."""

    why: Why
    reason: str
    elsewhere: bool = False
    """Whether the pool's other capacities are worth asking although it is no lack of capacity: EC2
    has a quota for Spot, and one for each family of instance types."""

    @property
    def asks_next(self) -> bool:
        """Whether the pool's next capacity is asked now."""
        return self.why is Why.CAPACITY or self.elsewhere


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
    """PROVISIONING, PENDING, RUNNING and others, at last STOPPED: ECS's words, for machines too."""
    stopping: bool
    """Whether it has ended, or is about to."""
    exit_code: int | None
    """Of the agent; None if it has none, which is never a success."""
    reason: str
    """Why it ended, in AWS's words."""

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.status == "STOPPED"


class Startable(Protocol):
    """A kind of task or machine that can be started, and the capacities that it may come from."""

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """Return its tags, beside the launcher's own."""

    @property
    def steps(self) -> int:
        """Count the capacities that are asked in turn."""

    def make_request(
        self, token: str, started_by: str, tags: Mapping[str, str], step: int
    ) -> dict[str, Any]:
        """Make the request for one: the same for the same arguments, and without a secret."""


class Place(Protocol):
    """Where tasks or machines run. Every call raises AwsError, in one of its kinds."""

    async def start(self, request: dict[str, Any]) -> Placement:
        """Send a request that `Startable.make_request` made; safe to send again."""

    async def look(self, tasks: Sequence[str]) -> dict[str, TaskState]:
        """Describe tasks, by id; those that the place does not know are left out."""

    async def stop(self, task: str, reason: str) -> None:
        """Stop a task; one that has ended, or is not known any more, is no error."""

    async def find(self, started_by: str) -> list[str]:
        """List the tasks of one request that have not ended."""

    async def read_console(self, task: str) -> list[str]:
        """Return the last lines of a machine's console; none where there is no such thing."""
