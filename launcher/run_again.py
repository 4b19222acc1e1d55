"""Ask GitHub about a workflow run, and have its failed jobs run again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar import github

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand

COMPLETED = "completed"
_CHANGED = "This workflow is already running"


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is now."""

    attempt: int
    """The number of this start; the first is 1."""
    status: str


async def look_at_run(connection: github.Connection, demand: Demand) -> Run:
    """Look at the run of a job. Raises GitHubError."""
    api = await connection.api()
    answer = await api.call("GET", _path(demand), expects={200: None}, tries=1)
    body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    attempt = body.get("run_attempt")
    return Run(attempt if isinstance(attempt, int) else 1, str(body.get("status")))


async def run_failed_again(connection: github.Connection, demand: Demand) -> None:
    """Have the failed jobs of a completed run run again, and what depends on them.

    Needs *Actions: write*. Raises GitHubError; TransientError where its outcome is not known, or
    where the run has begun again just now: then look at its attempt.
    """
    api = await connection.api()
    path = f"{_path(demand)}/rerun-failed-jobs"
    try:
        await api.call("POST", path, expects={201: None}, tries=1)
    except github.GitHubError as error:
        if _CHANGED not in str(error):
            raise
        raise github.TransientError(str(error), error.status) from error


def _path(demand: Demand) -> str:
    return f"/repos/{demand.repository}/actions/runs/{demand.run_id}"
