"""Hold what is known of one job: the facts of each source, and what could not be seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.explain.entries import Entry, Mark, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.demand.delivery import Demand
    from launcher.explain.target import Target
    from launcher.pools.pool import Pool
    from launcher.record.launch import Launch
    from launcher.record.pool_state import PoolState
    from sidecar import github


@dataclass(frozen=True, slots=True)
class Job:
    """A job as GitHub describes it (REST, schema `job`)."""

    id: int
    name: str
    repository: str
    run_id: int
    attempt: int
    status: str
    """queued, waiting, pending, requested, in_progress, completed."""
    conclusion: str | None
    labels: tuple[str, ...]
    created_at: float | None
    started_at: float | None
    completed_at: float | None
    runner_name: str | None
    runner_group: str | None
    url: str

    @property
    def began(self) -> bool:
        """Whether a runner has it, or had it."""
        return self.runner_name is not None

    @property
    def ended(self) -> bool:
        """Whether it is completed."""
        return self.status == "completed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of GitHub's to deliver `workflow_job` for the job."""

    id: int
    guid: str
    at: float | None
    action: str
    status: str
    code: int
    answer: str
    hook: str
    """Whose webhook it is."""

    @property
    def is_ok(self) -> bool:
        """Whether its receiver has taken it."""
        return 200 <= self.code < 300


@dataclass(frozen=True, slots=True)
class Room:
    """The places of one counter."""

    name: str
    taken: int
    most: int | None
    is_ours: bool = False
    """Whether the launch has a place in it."""

    @property
    def is_full(self) -> bool:
        """Whether nobody else gets in."""
        return self.most is not None and self.taken >= self.most


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an agent's or the launcher's log."""

    name: str
    level: str
    at: float | None
    facts: Mapping[str, Any]


@dataclass(slots=True)
class Home:
    """A task or machine of the launch, and what its sources tell."""

    place: str
    """A task's ARN or id, or a machine's id."""
    cluster: str = ""
    container: str = "runner"
    definition: str = ""
    """The task definition, where a request or ECS names it."""
    described: Mapping[str, Any] | None = None
    """The answer of DescribeTasks or DescribeInstances; None: it is not known there (any more)."""
    was_asked: bool = False
    events: list[Event] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """The lines of the agent that are no events."""
    token: Mapping[str, Any] | None = None
    """The metadata of its token's parameter."""
    token_asked: bool = False
    parameter: str = ""
    is_current: bool = True
    """Whether the launch has it now; False: an earlier try had it."""


@dataclass(slots=True)
class Case:
    """All that is known."""

    target: Target
    now: float
    job: Job | None = None
    run: Mapping[str, Any] | None = None
    repository_id: int | None = None
    demand: Demand | None = None
    launch: Launch | None = None
    is_record_asked: bool = False
    attempts: list[Attempt] | None = None
    """None: nobody could be asked."""
    pools: list[Pool] | None = None
    """The pools that match the job's labels, the best first; None: nobody could be asked."""
    unserved: str | None = None
    """Why no pool serves the job's labels."""
    refusals: list[str] = field(default_factory=list)
    """Why the policy of a pool refuses it."""
    state: PoolState | None = None
    rooms: list[Room] = field(default_factory=list)
    messages: Mapping[str, int] | None = None
    homes: list[Home] = field(default_factory=list)
    runner: github.Runner | None = None
    runner_name: str | None = None
    """The runner that was looked for."""
    visible_groups: list[str] | None = None
    """The runner groups that the repository may use; None: nobody could be asked."""
    group: str | None = None
    """The runner group of the launch's pool."""
    launcher_events: list[Event] = field(default_factory=list)
    deaf_apps: list[str] = field(default_factory=list)
    """The Apps that are not subscribed to `workflow_job`; asked where no delivery is listed."""
    refused: list[Entry] = field(default_factory=list)
    """Refusals of the credential itself: the launcher asks with the same one."""
    unseen: list[Entry] = field(default_factory=list)

    @property
    def repository(self) -> str | None:
        """Return `owner/name`."""
        if self.job is not None:
            return self.job.repository
        return self.demand.repository if self.demand is not None else self.target.repository

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the labels that the job asks for."""
        if self.job is not None:
            return self.job.labels
        return self.demand.labels if self.demand is not None else ()

    @property
    def began(self) -> float:
        """Return when the story begins."""
        if self.job is not None and self.job.created_at is not None:
            return self.job.created_at
        return self.launch.first_seen if self.launch is not None else 0.0

    def note_unseen(self, source: Source, reason: str) -> None:
        """Note what could not be seen, and why; each once."""
        entry = Entry(source, reason, mark=Mark.UNSEEN)
        if entry not in self.unseen:
            self.unseen.append(entry)
