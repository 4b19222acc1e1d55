"""Say what a sweep has found, and what became of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from launcher.errors import describe
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeVar

    T = TypeVar("T")


class Kind(StrEnum):
    """A kind of thing that may be left."""

    TOKEN = "token"  # noqa: S105  it is no secret
    RUNNER = "runner"
    TASK = "task"
    MACHINE = "machine"
    DELIVERY = "delivery"
    """Of a webhook: one that was lost."""
    JOB = "job"
    """A queued job, or a launch, that nobody serves."""


class Outcome(StrEnum):
    """The outcome of one look at a finding."""

    FOUND = "found"
    """It was seen for the first time: a later look decides."""
    REMOVED = "removed"
    WOULD_REMOVE = "would be removed"
    """It would have been removed: this is a trial."""
    SENT = "sent again"
    """A delivery or a job has gone to the workers once more."""
    WOULD_SEND = "would be sent again"
    KEPT = "kept"
    """A last look has shown that it is needed, or removing it failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of ours that seems to be an orphan."""

    kind: Kind
    name: str
    """The name of a parameter or runner, the ARN of a task, the id of a machine."""
    reason: str
    """The reason why nobody seems to need it."""
    version: str = ""
    """Its state: another one than at the first look begins anew."""
    place: str = ""
    """The URL of the scope that its runner is registered at."""
    patience: float = 0.0
    """Seconds that it must have been seen for, where the usual pause is shorter."""
    runners: tuple[str, ...] = ()
    """The names of the runners of a task or machine, which are deleted before it ends."""

    @property
    def key(self) -> str:
        """Return what an earlier look at the same thing in the same state has noted."""
        parts = [self.kind, self.place, self.name, self.version]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Result:
    """A finding, and what became of it."""

    finding: Finding
    outcome: Outcome
    detail: str = ""
    """The reason why it is kept."""
    failed: bool = False
    """It is kept because removing it failed."""


@dataclass(slots=True)
class Report:
    """The results of one sweep."""

    results: list[Result] = field(default_factory=list)
    uncovered: list[str] = field(default_factory=list)
    """A line for each thing that could not be looked at, and why."""
    errors: list[SidecarError] = field(default_factory=list)
    """The errors behind that."""

    def add(
        self, finding: Finding, outcome: Outcome, detail: str = "", *, failed: bool = False
    ) -> None:
        """Add a result."""
        self.results.append(Result(finding, outcome, detail, failed))

    async def attempt(self, what: str, work: Awaitable[T]) -> T | None:
        """Wait for a listing; None where it fails, which the report then says."""
        try:
            return await work
        except SidecarError as error:
            self.leave_out(what, describe(error))
            self.errors.append(error)
        return None

    def leave_out(self, what: str, reason: str) -> None:
        """Say what could not be looked at; once for each reason."""
        line = f"{what}: {reason}"
        if line not in self.uncovered:
            self.uncovered.append(line)

    def count(self, outcome: Outcome, kind: Kind | None = None) -> int:
        """Count the results with an outcome."""
        return sum(
            result.outcome is outcome and kind in (None, result.finding.kind)
            for result in self.results
        )
