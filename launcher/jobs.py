"""Ask GitHub about a job and its run, as rarely as possible.

A run is asked for once, whatever the number of its jobs. Each question is asked once: what has no
answer now is put off with its message.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import structlog

from launcher.demand.delivery import COMPLETED, IN_PROGRESS, QUEUED, WAITING
from launcher.errors import describe
from launcher.pools.access import Requester
from sidecar import github

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.record.runs import Runs

    Key = tuple[str, str, int]

log = structlog.get_logger()

RUNS_KEPT = 5000
SPARED = 0.2
"""The share of the hour's calls that is left to what must be asked."""
_STATES = {
    "queued": QUEUED,
    "requested": QUEUED,
    "pending": QUEUED,
    "waiting": WAITING,
    "in_progress": IN_PROGRESS,
    "completed": COMPLETED,
}


@dataclass(frozen=True, slots=True)
class Unknown:
    """GitHub did not tell, and why."""

    reason: str
    may_pass: bool = True
    """Whether it may tell later."""


class Jobs:
    """Looks jobs and runs up. `runs` is what all workers know of runs."""

    def __init__(self, runs: Runs | None = None) -> None:
        self._shared = runs
        self._runs: dict[Key, Requester] = {}
        self._asking: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def find_requester(self, connection: github.Connection, demand: Demand) -> Requester:
        """Find out who asks for a runner; once for each run. Raises SidecarError."""
        key = connection.url or "", demand.repository, demand.run_id
        async with self._asking.setdefault(key, asyncio.Lock()):  # the others wait for its answer
            if (known := self._runs.get(key)) is None:
                known = await self._find_run(connection, demand, key)
                if len(self._runs) >= RUNS_KEPT:
                    self._runs.pop(next(iter(self._runs)))
                self._runs[key] = known
        return known

    async def _find_run(self, connection: github.Connection, demand: Demand, key: Key) -> Requester:
        known = await self._shared.read(*key) if self._shared is not None else None
        if known is not None:
            return known
        api = await connection.api()
        path = f"/repos/{demand.repository}/actions/runs/{demand.run_id}"
        answer = await api.call("GET", path, expects={200: None}, tries=1)
        found = Requester.from_run(demand.repository, _table(answer.body))
        if self._shared is not None:
            await self._shared.save(key[0], demand.run_id, found)
        return found

    async def look_up(
        self, connection: github.Connection, demand: Demand, *, spare: bool = True
    ) -> Demand | Unknown:
        """Ask for a job's state; return the demand as GitHub would send it now.

        `spare`: leave the last calls of the hour to others, and say that it is not known.
        """
        if demand.is_warm or demand.order is not None:
            return demand  # no job: it is always queued
        api = await connection.api()
        if spare and api.left < SPARED:
            return Unknown(f"GitHub's limit: {api.left:.0%} of the calls are left")
        path = f"/repos/{demand.repository}/actions/jobs/{demand.job_id}"
        try:
            answer = await api.call("GET", path, expects={200: None, 404: None}, tries=1)
        except github.GitHubError as error:
            return Unknown(describe(error), isinstance(error, github.TransientError))
        if answer.status == 404:  # deleted, or hidden: a missing permission looks the same
            reason = "GitHub does not know the job, or hides it (Actions: read)"
            return Unknown(reason, may_pass=False)
        return _translate(demand, _table(answer.body))


def _translate(demand: Demand, job: dict[str, Any]) -> Demand | Unknown:
    action = _STATES.get(str(job.get("status")))
    if action is None:
        return Unknown("GitHub's answer about the job has no status")
    runner_id, runner_name = job.get("runner_id"), job.get("runner_name")
    conclusion = job.get("conclusion")
    return replace(
        demand,
        action=action,
        conclusion=conclusion if isinstance(conclusion, str) else None,
        runner_id=runner_id if isinstance(runner_id, int) else None,
        runner_name=runner_name if isinstance(runner_name, str) else None,
    )


def _table(body: Any) -> dict[str, Any]:
    return body if isinstance(body, dict) else {}
