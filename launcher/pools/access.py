"""Decide who may use a pool: by repository, owner, event, fork and ref, not by labels alone.

The launcher asks before it starts anything. That alone protects nothing: a refused job stays
queued, and GitHub gives it the first runner that was started for another one. So the same policy
goes to the agent with the runner's token, and its started hook compares again before any step.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.documents.patterns import (
    check_event,
    check_ref,
    check_repository,
    lower,
    matches_any,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sidecar.documents.tables import Table

LONGEST_POLICY = 3000
"""Bytes of the policy in a token's parameter, which holds 8 KB: a just-in-time configuration has
4 to 4.5 of them."""
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})")
_OF_BRANCH = frozenset(
    {"push", "schedule", "workflow_dispatch", "release", "merge_group", "create"}
)
"""Events whose run's `head_branch` is the branch or tag that the workflow runs for.

Of other events it may be the head of a stranger's pull request, whose branch may be "main" too.
"""
_OF_PULL_REQUEST = frozenset({"pull_request", "pull_request_review", "pull_request_review_comment"})


@dataclass(frozen=True, slots=True)
class Requester:
    """The facts about who asks for a runner. What is not known is never admitted."""

    repository: str
    """`owner/name`."""
    event: str | None = None
    head_repository: str | None = None
    """Where the workflow's commit comes from; another repository is a fork."""
    refs: tuple[str, ...] = ()
    """What the ref may be: a run's answer does not tell a branch from a tag."""

    @classmethod
    def from_run(cls, repository: str, run: Mapping[str, Any]) -> Requester:
        """Read GitHub's answer about a workflow run (GET .../actions/runs/{run_id})."""
        head = run.get("head_repository")
        name = head.get("full_name") if isinstance(head, dict) else None
        event = run.get("event")
        event = event if isinstance(event, str) else None
        return cls(
            repository, event, name if isinstance(name, str) else None, _find_refs(event, run)
        )


def _find_refs(event: str | None, run: Mapping[str, Any]) -> tuple[str, ...]:
    branch = run.get("head_branch")
    if event in _OF_BRANCH and isinstance(branch, str):
        return f"refs/heads/{branch}", f"refs/tags/{branch}"
    if event in _OF_PULL_REQUEST:
        listed = run.get("pull_requests")
        found = listed if isinstance(listed, list) else []
        numbers = [item.get("number") for item in found if isinstance(item, dict)]
        # GitHub lists none for a fork. The hook in the task knows the number.
        return tuple(f"refs/pull/{number}/merge" for number in numbers or [0])
    return ()


@dataclass(frozen=True, slots=True)
class Access:
    """The rules for who may use a pool. An empty tuple admits all."""

    repositories: tuple[str, ...] = ()
    """`owner/name`, where the name may hold `*`."""
    owners: tuple[str, ...] = ()
    """A repository is admitted by either of the two."""
    events: tuple[str, ...] = ()
    forks: bool = False
    refs: tuple[str, ...] = ()
    """`refs/heads/main`, `refs/tags/v*`; `**` stands for `/` too."""

    @property
    def needs_run(self) -> bool:
        """Whether it depends on what only the workflow run tells, not the job."""
        return bool(self.events or self.refs) or not self.forks

    def refusal(self, who: Requester) -> str | None:
        """Say why this requester may not use the pool; None where it may."""
        if not self.admits_repository(who.repository):
            return f"{who.repository:.100} is none of its repositories and owners"
        if self.events and who.event not in self.events:
            return f"the event {who.event or 'is not known and'} is none of its events"
        if not self.forks and (reason := _refuse_fork(who)):
            return reason
        if self.refs and not any(matches_any(self.refs, ref) for ref in who.refs):
            shown = " or ".join(who.refs)[:200] or "the ref is not known, and"
            return f"{shown} is none of its refs"
        return None

    def to_policy(self) -> dict[str, Any]:
        """Return it as what the agent is given with the token; what is empty is left out."""
        policy = {
            "repositories": list(self.repositories),
            "owners": list(self.owners),
            "events": list(self.events),
            "refs": list(self.refs),
        }
        return {key: value for key, value in policy.items() if value} | {"forks": self.forks}

    def admits_repository(self, repository: str) -> bool:
        """Say whether the policy's repositories and owners admit this one."""
        if not self.repositories and not self.owners:
            return True
        owner = repository.partition("/")[0].lower()
        return owner in map(str.lower, self.owners) or matches_any(
            lower(self.repositories), repository.lower()
        )


def read_access(table: Table) -> Access:
    """Read a pool's access table; mistakes are reported."""
    access = Access(
        table.texts("repositories", check_repository),
        table.texts("owners", _check_owner),
        table.texts("events", check_event),
        table.flag("forks", default=False),
        table.texts("refs", check_ref),
    )
    if (size := len(json.dumps(access.to_policy()).encode())) > LONGEST_POLICY:
        keys = "repositories, owners, events, refs"
        table.report(keys, f"must have {LONGEST_POLICY} bytes at most as JSON, and have {size}")
    table.finish()
    return access


def _refuse_fork(who: Requester) -> str | None:
    if who.head_repository is None:
        return "where its commit comes from is not known, and forks are not admitted"
    if who.head_repository.lower() != who.repository.lower():
        return f"its commit comes from {who.head_repository:.100}, and forks are not admitted"
    return None


def _check_owner(text: str) -> None:
    if not _OWNER.fullmatch(text):
        message = "must be the name of an organization or a user"
        raise ValueError(message)
