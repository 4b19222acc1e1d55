"""Find out which job is asked about: its job at GitHub, its launch, its task or machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from launcher import identity
from launcher.explain.case import Case, Home
from launcher.explain.entries import Source
from launcher.explain.sources import jobs, record
from launcher.explain.target import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from launcher.demand.delivery import Demand
    from launcher.record.records import Records
    from sidecar.github.api import Api

T = TypeVar("T")

ACTIONS = "needs Actions: read"


class Asking(Protocol):
    """Asks, and notes in the case what could not be asked."""

    case: Case

    async def ask(self, source: Source, work: Awaitable[T], permission: str = "") -> T | None:
        """Ask one question; None where there is no answer."""

    async def open_api(self, repository: str, demand: Demand | None) -> Api | None:
        """Return GitHub's API with the credential for a repository; None where there is none."""


class Subject:
    """The job that is asked about. `home` is the repository or owner that the settings name."""

    def __init__(
        self, asking: Asking, records: Records | None, deployment: str, home: str | None
    ) -> None:
        self._asking = asking
        self._case = asking.case
        self._records = records
        self._deployment = deployment
        self._home = home

    async def find(self) -> None:
        """Find job and launch from whichever of them was asked about."""
        case, target = self._case, self._case.target
        if target.home is not None:
            await self._find_by_home(target.home)
        elif target.kind is Kind.RUN:
            await self._find_in_run()
        elif target.kind is Kind.JOB:
            await self._find_by_job()
        if case.launch is not None and case.demand is None:
            case.demand = record.read_demand(case.launch)
        if case.demand is not None:
            case.repository_id = case.repository_id or case.demand.repository_id
        self._add_homes()

    async def _find_by_home(self, home: str) -> None:
        case = self._case
        if self._records is not None:
            found = record.read_launch_of(self._records, home)
            case.is_record_asked = True
            case.launch = await self._asking.ask(Source.RECORD, found)
        demand = record.read_demand(case.launch) if case.launch is not None else None
        case.demand = demand
        if demand is not None and demand.job_id:
            await self._read_job(demand.repository, str(demand.job_id), demand)

    async def _find_by_job(self) -> None:
        case, target = self._case, self._case.target
        repository = target.repository or self._home
        if repository is None or repository.endswith("/-"):
            await self._search_record(int(target.name))
            demand = record.read_demand(case.launch) if case.launch is not None else None
            case.demand = demand
            if demand is None:
                reason = f"no record tells the repository of job {target.name}: add --repository"
                case.note_unseen(Source.GITHUB, reason)
                return
            await self._read_job(demand.repository, target.name, demand)
            return
        await self._read_job(repository, target.name, None)
        await self._read_record(int(target.name))

    async def _find_in_run(self) -> None:
        case, target = self._case, self._case.target
        repository = target.repository or ""
        api = await self._asking.open_api(repository, None)
        if api is None:
            return
        listed = await self._asking.ask(
            Source.GITHUB, jobs.list_jobs(api, repository, target.name), ACTIONS
        )
        if not listed:
            return
        waiting = [job for job in listed if not job.ended]
        case.job = (waiting or listed)[0]
        if len(listed) > 1:
            others = ", ".join(str(job.id) for job in listed if job is not case.job)
            case.note_unseen(Source.GITHUB, f"the run has other jobs, not told here: {others}")
        case.run = await self._asking.ask(
            Source.GITHUB, jobs.read_run(api, repository, case.job.run_id), ACTIONS
        )
        await self._read_record(case.job.id)

    async def _read_job(self, repository: str, number: str, demand: Demand | None) -> None:
        case = self._case
        api = await self._asking.open_api(repository, demand)
        if api is None:
            return
        case.job = await self._asking.ask(
            Source.GITHUB, jobs.read_job(api, repository, number), ACTIONS
        )
        if case.job is not None:
            case.run = await self._asking.ask(
                Source.GITHUB, jobs.read_run(api, repository, case.job.run_id), ACTIONS
            )

    async def _read_record(self, job: int) -> None:
        """Read the launch of a job whose repository is known."""
        case, records = self._case, self._records
        if case.run is not None:
            own = case.run.get("repository")
            case.repository_id = own.get("id") if isinstance(own, dict) else None
        if records is None:
            return
        if case.repository_id is None:
            await self._search_record(job)
            return
        case.is_record_asked = True
        id_ = identity.launch_id(self._deployment, str(case.repository_id), str(job))
        case.launch = await self._asking.ask(Source.RECORD, record.read_launch(records, id_))

    async def _search_record(self, job: int) -> None:
        """Look through the whole table: a job's number alone tells no launch."""
        case, records = self._case, self._records
        if records is None:
            return
        ledger = await self._asking.ask(Source.RECORD, records.read_all())
        if ledger is not None:
            case.is_record_asked = True
            case.launch = record.find_by_job(ledger, job)

    def _add_homes(self) -> None:
        """Note the task or machine that was asked about, and that of the launch."""
        case, target = self._case, self._case.target
        launch = case.launch
        current = launch.place if launch is not None else None
        if launch is not None and current is not None:
            case.homes.append(record.make_home(launch, current))
        if target.home is not None and target.home != identity.task_id(current or ""):
            cluster = target.cluster or (record.find_cluster(launch) if launch is not None else "")
            home = Home(target.home, cluster or "", is_current=launch is None)
            case.homes.insert(0, home)
