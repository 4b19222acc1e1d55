"""Read who a job is, before any of its steps: from the runner's own variables and event file.

The started hook sends the variables that the runner sets for it. The workflow's own `env` does not
reach that hook (actions/runner 2.336: `JobHookProvider` runs with an empty environment of its own
beside the GITHUB_* of the job's message), and no step has run yet that could have forged anything.
The event file is written by the runner just before, and read here without following links.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar import host

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {
    "repository": "GITHUB_REPOSITORY",
    "repository_id": "GITHUB_REPOSITORY_ID",
    "event": "GITHUB_EVENT_NAME",
    "ref": "GITHUB_REF",
    "ref_protected": "GITHUB_REF_PROTECTED",
    "sha": "GITHUB_SHA",
    "workflow": "GITHUB_WORKFLOW",
    "workflow_ref": "GITHUB_WORKFLOW_REF",
    "job": "GITHUB_JOB",
    "actor": "GITHUB_ACTOR",
    "triggering_actor": "GITHUB_TRIGGERING_ACTOR",
    "run_id": "GITHUB_RUN_ID",
    "run_attempt": "GITHUB_RUN_ATTEMPT",
}
"""The variables that the hook sends, by the fields of an identity."""
EVENT_PATH = "GITHUB_EVENT_PATH"
SENT = (*VARIABLES.values(), EVENT_PATH)

EVENT_FILE = ("_temp", "_github_workflow", "event.json")
"""Where the runner writes the event, below its work folder (`ExecutionContext.cs`)."""
LONGEST_EVENT = 4 << 20
"""Bytes of an event that is read: GitHub's for pull requests are some 30 KB."""

OF_REPOSITORY = frozenset(
    {
        "branch_protection_rule",
        "check_run",
        "check_suite",
        "create",
        "delete",
        "deployment",
        "deployment_status",
        "discussion",
        "discussion_comment",
        "dynamic",
        "fork",
        "gollum",
        "image_version",
        "issue_comment",
        "issues",
        "label",
        "merge_group",
        "milestone",
        "page_build",
        "project",
        "project_card",
        "project_column",
        "public",
        "push",
        "registry_package",
        "release",
        "repository_dispatch",
        "schedule",
        "status",
        "watch",
        "workflow_dispatch",
        "workflow_run",
    }
)
"""Events whose workflow runs for a commit of the repository itself (GitHub: "Events that trigger
workflows"). Their event file is not needed. Of an event that is not listed nothing is known."""
OF_PULL_REQUEST = frozenset(
    {
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_target",
    }
)
"""Events whose file says in `pull_request.head.repo` where the commit comes from."""


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """The identity of a job; None where a part is not known."""

    repository: str | None = None
    """`owner/name`."""
    repository_id: str | None = None
    event: str | None = None
    ref: str | None = None
    ref_protected: bool | None = None
    """Whether a rule of GitHub's protects the ref."""
    sha: str | None = None
    workflow: str | None = None
    workflow_ref: str | None = None
    job: str | None = None
    actor: str | None = None
    triggering_actor: str | None = None
    run_id: str | None = None
    run_attempt: str | None = None
    head_repository: str | None = None
    """Where its commit comes from; another repository is a fork."""
    head_unknown: str | None = None
    """Why `head_repository` is not known."""
    from_fork: bool | None = None
    """Whether its commit comes from a fork, also one that is deleted; None: it is not known."""
    environment: str | None = None
    """The deployment environment, which only GitHub's OIDC token tells."""

    @property
    def workflow_file(self) -> str | None:
        """The workflow's file, `owner/name/.github/workflows/ci.yml`; None if it is not sure.

        A file's name may hold "@", and so may a ref's: only the job's own ref is cut off, or what
        follows the only "@".
        """
        written = self.workflow_ref or ""
        if self.ref and written.endswith(f"@{self.ref}"):
            return written.removesuffix(f"@{self.ref}") or None
        file, _, ref = written.partition("@")
        return file if file and ref and "@" not in ref else None

    def to_facts(self) -> dict[str, str]:
        """Return what is known, for the log: printable, and not longer than 255 characters each."""
        names = (*VARIABLES, "head_repository", "environment")
        facts = {name: getattr(self, name) for name in names if name != "ref_protected"}
        facts["event_name"] = facts.pop("event")  # a log line's own "event" is another thing
        return {name: _show(str(value)) for name, value in facts.items() if value is not None}


def _show(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:255])


def read_identity(variables: Mapping[str, str], work: Path) -> JobIdentity:
    """Read who the job is, from the hook's variables and the event file below the `work` folder.

    May take as long as the disk does: run it in a thread.
    """
    known: dict[str, Any] = {
        field: variables.get(name) or None for field, name in VARIABLES.items()
    }
    known["ref_protected"] = {"true": True, "false": False}.get(known["ref_protected"] or "")
    identity = JobIdentity(**known)
    if identity.event in OF_REPOSITORY:
        return replace(identity, head_repository=identity.repository, from_fork=False)
    if identity.event not in OF_PULL_REQUEST:
        unknown = f"where a job of the event {_show(identity.event or '(none)')} comes from"
        return replace(identity, head_unknown=f"{unknown} is not known to this agent")
    try:
        event = _read_event(variables.get(EVENT_PATH, ""), work)
        head, from_fork = _find_head(event, identity)
    except ValueError as error:
        return replace(identity, head_unknown=f"its event cannot be read: {error}")
    if head is None:
        unknown = "its event cannot be read: it names no head repository (was the fork deleted?)"
        return replace(identity, head_unknown=unknown, from_fork=from_fork)
    return replace(identity, head_repository=head, from_fork=from_fork)


def _read_event(path: str, work: Path) -> dict[str, Any]:
    """Read the event file. Raises ValueError."""
    written = Path(path)
    if written.parts[-len(EVENT_FILE) :] != EVENT_FILE or not _is_same(written.parents[2], work):
        message = f"{EVENT_PATH} is not {'/'.join(EVENT_FILE)} in the runner's work folder"
        raise ValueError(message)
    try:
        content = host.read_below(work, EVENT_FILE, LONGEST_EVENT)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    try:
        event = json.loads(content)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        message = "it is no JSON object"
        raise ValueError(message)  # noqa: TRY004  what is wrong is the file
    return event


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to the same folder: the runner's program resolves links."""
    return os.path.realpath(one) == os.path.realpath(other)


def _find_head(event: dict[str, Any], identity: JobIdentity) -> tuple[str | None, bool | None]:
    """Return the head repository of a pull request's event, and whether it is a fork.

    Repositories are compared by their number where it is known: a name can change. GitHub writes
    null for a fork that was deleted. Raises ValueError.
    """
    number, name = _find(event, "repository", "id"), _find(event, "repository", "full_name")
    same_number = identity.repository_id is not None and str(number) == identity.repository_id
    if not same_number and str(name).lower() != (identity.repository or "").lower():
        message = "it belongs to another repository"
        raise ValueError(message)
    above = _find(event, "pull_request", "head")
    head = _find(above, "repo")
    if isinstance(number, int) and _find(head, "id") == number:
        return identity.repository or "", False
    if not isinstance(full_name := _find(head, "full_name"), str) or not full_name:
        deleted = isinstance(above, dict) and above.get("repo", "") is None
        return None, deleted or None
    has_numbers = isinstance(number, int) and isinstance(_find(head, "id"), int)
    return full_name, has_numbers or full_name.lower() != (identity.repository or "").lower()


def _find(document: object, *path: str) -> object:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document
