"""Say in a session who the job is: its tags, its name, its SourceIdentity.

AWS decides by tags, so a value that STS does not take as it is is never sent in another form: two
different refs never give the same tag. It is left out, and a policy that needs it denies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from sidecar.roles.rules import Job
from sidecar.roles.tag_text import LONGEST_VALUE, is_tag_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NAME_LENGTH = 64
"""Characters that a session's name and a SourceIdentity may have; they have at least two."""
_IDENTITY = re.compile(rf"[A-Za-z0-9_+=,.@-]{{2,{NAME_LENGTH}}}")


class Run(Job, Protocol):
    """The facts about a job that a session tells; None where one is not known."""

    @property
    def run_id(self) -> str | None:
        """The number of the run."""

    @property
    def run_attempt(self) -> str | None:
        """The number of the attempt."""


def make_tags(run: Run, more: Mapping[str, str]) -> dict[str, str]:
    """Return the session tags: who the job is, and what its rule adds."""
    return {
        name: value for name, value in _own_tags(run) if value and is_sent_unchanged(value)
    } | dict(more)


def find_unsent(run: Run) -> list[str]:
    """Return the names of the tags that are left out, though their values are known."""
    return [name for name, value in _own_tags(run) if value and not is_sent_unchanged(value)]


def _own_tags(run: Run) -> Iterable[tuple[str, str | None]]:
    return (
        ("repository", run.repository),
        ("ref", run.ref),
        ("workflow", run.workflow_file),
        ("event", run.event),
        ("actor", run.actor),
        ("run_id", run.run_id),
        ("run_attempt", run.run_attempt),
    )


def is_sent_unchanged(value: str) -> bool:
    """Return whether STS takes a value as a tag as it is: by its characters, and 256 at most.

    Characters are counted as Java does, in which a rare one counts twice.
    """
    return is_tag_text(value) and len(value.encode("utf-16-le")) // 2 <= LONGEST_VALUE


def make_name(run: Run, runner: str) -> str:
    """Return the session's name: run, attempt and repository, by which the run is found.

    CloudTrail shows it. It decides nothing, so what STS does not take in it becomes a hyphen.
    """
    known = [run.run_id, run.run_attempt, run.repository] if run.run_id else [runner]
    text = "-".join(part for part in known if part)
    name = re.sub(r"[^\w+=,.@-]", "-", text, flags=re.ASCII)[:NAME_LENGTH]
    return name if len(name) >= 2 else f"job-{name}"


def find_source_identity(run: Run, field: str | None) -> str | None:
    """Return the SourceIdentity; None for none, also where STS would not take the value."""
    value = getattr(run, field) if field is not None else None
    return value if isinstance(value, str) and _IDENTITY.fullmatch(value) else None
