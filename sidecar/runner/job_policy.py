"""Decide whether a job may run here: by repository, owner, event, fork and ref, not by its labels.

The launcher writes the policy beside the token (`"policy"`) and compares by the same rules before
it starts a task (launcher/pools/access.py). That alone protects nothing: a job that it refuses
stays queued, and GitHub gives it the first runner with its labels. tests/unit/policy_cases.json
holds both sides to the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.documents.patterns import LONGEST, MOST_STARS, count_stars, matches_any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.runner.job_identity import JobIdentity

LISTS = ("repositories", "owners", "events", "refs")
MOST_ITEMS = 200
"""In one list; the whole policy stands in a parameter of 8 KB at most."""


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """The rules for which jobs may run. An empty tuple admits all, an unknown fact admits none."""

    repositories: tuple[str, ...] = ()
    """`owner/name` in lower case, where the name may hold `*`."""
    owners: tuple[str, ...] = ()
    """In lower case. A repository is admitted by either of the two."""
    events: tuple[str, ...] = ()
    forks: bool = False
    refs: tuple[str, ...] = ()
    """`refs/heads/main`, `refs/tags/v*`; `**` stands for `/` too."""

    def refusal(self, job: JobIdentity) -> str | None:
        """Say why this job may not run; None where it may."""
        if not self._admits_repository(job.repository):
            return f"{_shown(job.repository)} is none of the pool's repositories and owners"
        if self.events and job.event not in self.events:
            return f"the event {_shown(job.event)} is none of the pool's events"
        if not self.forks and (reason := _refuse_fork(job)):
            return reason
        if self.refs and not matches_any(self.refs, job.ref or ""):
            return f"the ref {_shown(job.ref)} is none of the pool's refs"
        return None

    def _admits_repository(self, repository: str | None) -> bool:
        if repository is None:
            return False
        if not self.repositories and not self.owners:
            return True
        name = repository.lower()
        return name.partition("/")[0] in self.owners or matches_any(self.repositories, name)


def _refuse_fork(job: JobIdentity) -> str | None:
    if job.head_repository is None or job.repository is None:
        unknown = job.head_unknown or "it is not known where its commit comes from"
        return f"{unknown}, and the pool admits no forks"
    if job.head_repository.lower() != job.repository.lower():
        return f"its commit comes from {_shown(job.head_repository)}, and the pool admits no forks"
    return None


def _shown(text: str | None) -> str:
    return "(not known)" if text is None else text[:100]


# ---- reading it ---------------------------------------------------------------------------------


def parse_policy(value: Mapping[str, Any]) -> JobPolicy:
    """Read a policy as the launcher writes it. Raises ValueError that says what is wrong.

    A key of a newer launcher is an error: to ignore it would admit what it refuses.
    """
    if unknown := sorted(set(value) - {*LISTS, "forks"}):
        message = f"holds {unknown[0][:50]!r}, which this version of the agent does not know"
        raise ValueError(message)
    if not isinstance(forks := value.get("forks", False), bool):
        message = 'has "forks" that is neither true nor false'
        raise ValueError(message)  # noqa: TRY004  it is a wrong value
    lists = {key: _read_list(key, value[key]) for key in LISTS if key in value}
    for key in ("repositories", "owners"):
        lists[key] = tuple(item.lower() for item in lists.get(key, ()))
    return JobPolicy(forks=forks, **lists)


def _read_list(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_ITEMS:
        message = f'has "{key}" that is no list of 1 to {MOST_ITEMS} texts'
        raise ValueError(message)
    for item in value:
        if not isinstance(item, str) or not 0 < len(item) <= LONGEST or not item.isprintable():
            message = f'has an item in "{key}" that is no text of 1 to {LONGEST} characters'
            raise ValueError(message)
        starred = key in ("repositories", "refs")
        longest = "**" if key == "repositories" else "***"
        if longest in item or count_stars(item) > (MOST_STARS if starred else 0):
            message = f'has too many "*" in an item of "{key}"'
            raise ValueError(message)
    return tuple(value)
