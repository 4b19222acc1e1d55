"""Find the queued jobs of repositories, within a tenth of the calls that GitHub permits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.demand.delivery import QUEUED, Demand
from launcher.record.paces import Pace
from sidecar.github.answers import read_field, read_moment, read_number

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from launcher.sweep.hub import ConditionalApi
    from launcher.sweep.inventory import Inventory

SHARE = 0.1
"""Of the calls that GitHub permits in an hour."""
AT_ONCE = 12
"""Sweeps in an hour among which this share is spread."""
PAGE = 30
"""A run has some 15 KB."""
PAGES = 10
LATE = 180.0
"""Seconds that the webhook and the workers have for a job."""
STATES = ("queued", "in_progress")


class Spent(Exception):
    """The share of calls of this hour is used up."""


class QueuedJobs:
    """Finds queued jobs of ours."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._looked: dict[str, float] = {}
        """The time of the last look at each repository."""

    async def find(self, seen: Inventory, report: Report) -> AsyncIterator[tuple[Demand, float]]:
        """Find jobs that are queued for some minutes, and since when; the longest unseen first."""
        if self._around.pools is None:
            report.leave_out("queued jobs without a record", "LAUNCHER_POOLS is not set")
            return
        names = sorted(self._list_repositories(seen), key=lambda name: self._looked.get(name, 0.0))
        for number, name in enumerate(names):
            try:
                found = await report.attempt(f"jobs of {name}", self._list_jobs(name, seen.begun))
            except Spent:
                reason = "a tenth of GitHub's calls of this hour is used up"
                report.leave_out(f"queued jobs of {len(names) - number} repositories", reason)
                return
            self._looked[name] = seen.begun
            for each in found or []:
                yield each

    def _list_repositories(self, seen: Inventory) -> set[str]:
        exact = {
            name
            for pool in self._around.list_pools()
            for name in pool.access.repositories
            if "*" not in name
        }
        return {*seen.list_repositories(), *exact}

    async def _list_jobs(self, name: str, now: float) -> list[tuple[Demand, float]]:
        url = self._around.hub.find_url(name)
        api, found = await self._around.hub.api(url), []
        owner = name.partition("/")[0]
        for state in STATES:
            path = f"/repos/{name}/actions/runs?status={state}"
            for run in await self._list(api, owner, path, "workflow_runs"):
                path = f"/repos/{name}/actions/runs/{read_number(run, 'id')}/jobs?filter=latest"
                for job in await self._list(api, owner, path, "jobs"):
                    since = read_moment(job, "created_at").timestamp()
                    is_late = now - since > LATE and job.get("status") == QUEUED
                    if is_late and self._around.serves(name, _read_labels(job)):
                        found.append((_make_demand(name, run, job), since))
        return found

    async def _list(
        self, api: ConditionalApi, owner: str, path: str, key: str
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(1, PAGES + 1):
            await self._take_turn(api, owner)
            query = f"{path}&per_page={PAGE}&page={page}"
            answer = await api.call("GET", query, expects={200: None}, tries=1)
            listed = read_field(answer.body, key, list)
            found += [each for each in listed if isinstance(each, dict)]
            if len(listed) < PAGE:
                break
        return found

    async def _take_turn(self, api: ConditionalApi, owner: str) -> None:
        """Take one call of the share. Raises Spent."""
        records = self._around.records
        assert records is not None, "asked before"  # noqa: S101
        share = api.calls_an_hour * SHARE
        line = Pace(f"sweep {owner.lower()}", share / 3600, max(1.0, share / AT_ONCE))
        if not await records.paces.take_now(line):
            raise Spent


def _read_labels(job: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(label) for label in job.get("labels") or ())


def _make_demand(name: str, run: dict[str, Any], job: dict[str, Any]) -> Demand:
    """Make what the webhook would have told of a job."""
    repository = read_field(run, "repository", dict)
    owner = repository.get("owner") or {}
    is_organization = owner.get("type") == "Organization"
    return Demand(
        action=QUEUED,
        delivery="",
        repository=str(repository.get("full_name") or name),
        repository_id=read_number(repository, "id"),
        organization=str(owner.get("login")) if is_organization else None,
        enterprise=None,
        installation=None,
        job_id=read_number(job, "id"),
        run_id=read_number(run, "id"),
        run_attempt=int(job.get("run_attempt") or run.get("run_attempt") or 1),
        labels=_read_labels(job),
        job_name=str(job.get("name") or ""),
        workflow=str(run.get("name") or ""),
        head_branch=str(run.get("head_branch") or ""),
        created_at=str(job.get("created_at") or ""),
    )
