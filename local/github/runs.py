"""The runs of workflows that jobs belong to."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OWN_REPOSITORY = "octo/demo"
"""Of a job that names no repository, wherever GitHub has to tell one."""


@dataclass
class Run:
    """One run: what `workflow_job` does not tell, and a policy may ask for."""

    id: int
    repository: str
    event: str = "push"
    workflow: str = "stand-in"
    head_branch: str = "main"
    head_repository: str = ""
    """Where the commit comes from: another repository for a fork's pull request."""
    pull_request: int = 0
    """Its number; 0 where there is none."""
    named_ref: str = ""
    """The ref that its jobs see, where it does not follow from the others: a tag."""
    ref_protected: bool = False
    workflow_file: str = "stand-in.yml"
    head_deleted: bool = False
    """Whether the fork of the pull request has been deleted."""
    actor: str = "octocat"
    sha: str = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
    attempt: int = 1
    started_at: float = 0.0

    @property
    def full_name(self) -> str:
        """The repository as `owner/name`."""
        return self.repository or OWN_REPOSITORY

    @property
    def head_name(self) -> str:
        """The repository of the commit, as `owner/name`."""
        return self.head_repository or self.full_name

    @property
    def ref(self) -> str:
        """The ref that its jobs see."""
        if self.named_ref:
            return self.named_ref
        if self.event == "pull_request_target":
            return "refs/heads/main"  # the default branch's own workflow, on a stranger's word
        if self.pull_request:
            return f"refs/pull/{self.pull_request}/merge"
        return f"refs/heads/{self.head_branch}"


class Runs:
    """All runs by id."""

    def __init__(self) -> None:
        self._all: dict[int, Run] = {}
        self._ids = itertools.count(1_000_001)  # never the number of a job

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._all.values()))

    def get(self, run_id: int) -> Run | None:
        """Return the run, or None."""
        return self._all.get(run_id)

    def add(self, wanted: Mapping[str, Any], now: float) -> Run:
        """Begin a run as a job describes it, or return the one that it names by `run_id`."""
        if (known := self.get(int(wanted.get("run_id") or 0))) is not None:
            return known
        run = Run(next(self._ids), str(wanted.get("repository") or ""), started_at=now)
        for name in ("event", "workflow", "head_branch", "head_repository", "actor", "sha"):
            setattr(run, name, str(wanted.get(name) or getattr(run, name)))
        run.named_ref = str(wanted.get("ref") or "")
        run.workflow_file = str(wanted.get("workflow_file") or run.workflow_file)
        run.ref_protected = bool(wanted.get("ref_protected"))
        run.head_deleted = bool(wanted.get("head_deleted"))
        run.pull_request = int(wanted.get("pull_request") or 0)
        self._all[run.id] = run
        return run
