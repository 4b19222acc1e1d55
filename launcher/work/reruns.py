"""Run a run's failed jobs again, once and on demand, where Spot took the task of one of them.

Only for pools with `rerun_interrupted`. The event of the task's end is the message that stays
until GitHub has taken the re-run: a run can only be run again when all of its jobs have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from launcher import run_again
from launcher.demand.delivery import COMPLETED, Demand
from launcher.errors import describe, describe_refusal
from launcher.jobs import Unknown
from launcher.work import pauses
from launcher.work.resources import PutOff
from sidecar import github

if TYPE_CHECKING:
    from launcher.demand.message import Message
    from launcher.jobs import Jobs
    from launcher.pools.pool import Pool
    from launcher.record.launch import Launch
    from launcher.work.resources import Resources

log = structlog.get_logger()

LONGEST = 24 * 3600.0
"""Seconds that the other jobs of a run may take; then nothing is run again."""
FAILED = frozenset({"failure", "cancelled"})
"""Conclusions of a job whose runner was taken; any other one it had reached before."""


class Reruns:
    """Asks for re-runs, and knows which jobs belong to one."""

    def __init__(self, around: Resources, jobs: Jobs) -> None:
        self._around = around
        self._jobs = jobs
        self._states = around.records.reruns

    async def choose_capacity(self, pool: Pool, demand: Demand) -> Pool:
        """Return the pool for a job's task: without Spot where the job's last attempt lost it."""
        if demand.run_attempt <= 1 or not pool.rerun_interrupted:
            return pool
        interrupted = await self._states.read(demand)
        return pool.without_spot() if interrupted == demand.run_attempt - 1 else pool

    async def ask(self, launch: Launch, message: Message) -> PutOff | None:
        """Ask for the re-run of an interrupted job's run, as soon as GitHub can take it."""
        pool = self._around.pools().by_name.get(launch.pool)
        if pool is None or not pool.rerun_interrupted or not launch.served:
            return None
        demand = Demand.from_json(launch.demand)
        facts = {"launch": launch.id, "repository": demand.repository, "run": demand.run_id}
        if self._around.now() - message.first_seen > LONGEST:
            log.warning("rerun.skipped", **facts, reason="the run has not ended for a day")
            return None
        try:
            later, why_not = await self._try(demand, message)
        except github.TransientError as error:
            return PutOff(self._pause(message), f"a re-run is not asked for yet: {describe(error)}")
        except github.GitHubError as error:
            reason = describe_refusal(error, "Actions: write")
            log.error("rerun.refused", **facts, reason=reason)  # noqa: TRY400
            return None
        if why_not:
            log.info("rerun.skipped", **facts, reason=why_not)
        elif later is None:
            log.warning("rerun.asked", **facts, attempt=demand.run_attempt + 1)
        return later

    async def _try(self, demand: Demand, message: Message) -> tuple[PutOff | None, str]:
        """Return when to come back, and why nothing is run again; neither: GitHub took it."""
        connection = self._around.connections.for_demand(demand)
        job = await self._jobs.look_up(connection, demand, spare=False)
        if isinstance(job, Unknown):
            return (self._wait(message), "") if job.may_pass else (None, job.reason)
        if job.action != COMPLETED:
            return self._wait(message), ""
        if job.conclusion not in FAILED:
            return None, f"its job has ended before: {job.conclusion}"
        run = await run_again.look_at_run(connection, demand)
        if run.attempt != demand.run_attempt:
            taken = await self._states.read(demand) == demand.run_attempt
            return None, "" if taken else "somebody else has run it again"
        if run.status != run_again.COMPLETED:
            return self._wait(message), ""
        if not await self._states.claim(demand):
            return None, "it was run again once before"
        await run_again.run_failed_again(connection, demand)
        return None, ""

    def _wait(self, message: Message) -> PutOff:
        return PutOff(self._pause(message), "other jobs of the run have not ended")

    def _pause(self, message: Message) -> float:
        return pauses.grow(20.0, message.count, self._around.chance, 300.0)
