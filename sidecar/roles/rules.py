"""Say what the rules are, and choose the first one that matches a job.

What is not known of a job never matches: a rule can only give a role to whom it names.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from sidecar.documents.patterns import lower, matches_any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.roles.containers import ContainerRule

NONE, TASK = "none", "task"
"""What may stand in the place of a role: no credentials, or the task's own role (`[default]`)."""
USUAL_EVENTS = (
    "push",
    "workflow_dispatch",
    "schedule",
    "release",
    "merge_group",
    "repository_dispatch",
)
"""The events of a rule that names none: somebody with the right to write caused them.

`pull_request_target`, `workflow_run` and `issue_comment` run with the default branch's ref on a
stranger's word, so they must be named.
"""
SHORTEST, LONGEST_CHAINED, LONGEST = 900, 3600, 43_200
"""Seconds of a session: the least, the most of a role that a role assumes, the most at all."""


class Proof(StrEnum):
    """The word by which AWS believes who a job is."""

    RUNNER = "runner"
    """The task role's word: the agent assumes the role, with session tags."""
    OIDC = "oidc"
    """GitHub's own token, which AWS verifies."""


class Job(Protocol):
    """The facts about a job that rules compare; None where one is not known."""

    @property
    def repository(self) -> str | None:
        """`owner/name`."""

    @property
    def repository_id(self) -> str | None:
        """The number, which a renamed repository keeps."""

    @property
    def ref(self) -> str | None:
        """`refs/heads/main`."""

    @property
    def ref_protected(self) -> bool | None:
        """Whether a rule of GitHub's protects the ref."""

    @property
    def workflow_file(self) -> str | None:
        """`owner/name/.github/workflows/ci.yml`, without a ref."""

    @property
    def event(self) -> str | None:
        """The event's name."""

    @property
    def environment(self) -> str | None:
        """The deployment environment, which only GitHub's OIDC token tells."""

    @property
    def actor(self) -> str | None:
        """The user who caused the run."""

    @property
    def from_fork(self) -> bool | None:
        """Whether the commit comes from another repository."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The jobs that a rule is for. An empty tuple and None stand for all of them."""

    repository: tuple[str, ...] = ()
    repository_id: tuple[str, ...] = ()
    ref: tuple[str, ...] = ()
    ref_protected: bool | None = None
    workflow: tuple[str, ...] = ()
    """`.github/workflows/ci.yml` of the job's own repository, or with `owner/name/` before it."""
    event: tuple[str, ...] = USUAL_EVENTS
    environment: tuple[str, ...] = ()
    actor: tuple[str, ...] = ()
    fork: bool = False
    """Whether it is for commits of forks; False: for those of the repository itself."""

    def mismatch(self, job: Job) -> str | None:
        """Return the first key that does not match, with the job's value; None if all match."""
        found = (
            ("repository", job.repository, self._has_repository(job)),
            ("repository_id", job.repository_id, _has(self.repository_id, job.repository_id)),
            ("event", job.event, job.event in self.event),
            ("fork", job.from_fork, job.from_fork is self.fork),
            ("ref", job.ref, not self.ref or _fits(self.ref, job.ref)),
            (
                "ref_protected",
                job.ref_protected,
                self.ref_protected in (None, job.ref_protected),
            ),
            ("workflow", job.workflow_file, not self.workflow or self._has_workflow(job)),
            (
                "environment",
                job.environment,
                not self.environment or _fits(self.environment, job.environment),
            ),
            ("actor", job.actor, not self.actor or _fits(lower(self.actor), _low(job.actor))),
        )
        for key, value, matches in found:
            if not matches:
                return f"{key} is {_show(value)}"
        return None

    def _has_repository(self, job: Job) -> bool:
        if job.repository is None:
            return False
        return not self.repository or _fits(lower(self.repository), _low(job.repository))

    def _has_workflow(self, job: Job) -> bool:
        own = f"{_low(job.repository)}/"
        patterns = tuple(
            own + one if one.startswith(".github/") else one for one in lower(self.workflow)
        )
        return _fits(patterns, _low(job.workflow_file))


def _has(listed: tuple[str, ...], value: str | None) -> bool:
    return not listed or value in listed


def _fits(patterns: tuple[str, ...], value: str | None) -> bool:
    return value is not None and matches_any(patterns, value)


def _low(value: str | None) -> str | None:
    return None if value is None else value.lower()


def _show(value: object) -> str:
    match value:
        case None:
            return "not known"
        case bool():
            return str(value).lower()
        case _:
            return "".join(one if one.isprintable() else "?" for one in str(value)[:100])


@dataclass(frozen=True, slots=True)
class Terms:
    """A role, and how it is given."""

    role: str
    """Its ARN, NONE or TASK."""
    policy: str | None = field(default=None, repr=False)
    """The session policy as JSON: what the session may do at most."""
    duration: int = LONGEST_CHAINED
    """Seconds of each session."""
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Session tags beside those that say who the job is."""
    proof: Proof = Proof.RUNNER
    source_identity: str | None = None
    """The fact about the job that becomes the SourceIdentity; None: none is set."""


@dataclass(frozen=True, slots=True)
class JobRule:
    """One `[[job]]`."""

    name: str
    when: Conditions
    terms: Terms
    container_roles: frozenset[str] = frozenset()
    """Roles that containers of such a job may have, by a `[[container]]`."""
    required: bool = False
    """Whether the job fails if the role cannot be had."""


@dataclass(frozen=True, slots=True)
class Match:
    """The rule for a job. Without `rule` it is the default's."""

    terms: Terms
    rule: JobRule | None = None

    @property
    def name(self) -> str:
        """Name the rule in a log."""
        return "default" if self.rule is None else self.rule.name

    @property
    def required(self) -> bool:
        """Whether the job fails if the role cannot be had."""
        return self.rule is not None and self.rule.required


@dataclass(frozen=True, slots=True)
class Roles:
    """All rules of one document."""

    jobs: tuple[JobRule, ...] = ()
    containers: tuple[ContainerRule, ...] = ()
    default: Terms = field(default_factory=lambda: Terms(NONE))
    """For a job of the usual events, of the repository's own commits, that no rule is for."""

    def find(self, job: Job) -> Match | None:
        """Return the first rule that matches, else the default; None where nothing is for it."""
        for rule in self.jobs:
            if rule.when.mismatch(job) is None:
                return Match(rule.terms, rule)
        if self.default.role != NONE and Conditions().mismatch(job) is None:
            return Match(self.default)
        return None

    def asks_token(self, job: Job) -> bool:
        """Return whether the job's rule may depend on GitHub's token.

        True for the first rule that matches, or would for some environment, if that rule has the
        token as its proof.
        """
        for rule in self.jobs:
            if replace(rule.when, environment=()).mismatch(job) is None:
                return rule.terms.proof is Proof.OIDC
        return self.default.proof is Proof.OIDC

    @property
    def proofs(self) -> frozenset[Proof]:
        """Return the proofs that any of the rules needs."""
        return frozenset({self.default.proof, *(rule.terms.proof for rule in self.jobs)})

    @property
    def any_required(self) -> bool:
        """Whether a job of some rule must not run without its role."""
        return any(rule.required for rule in self.jobs)
