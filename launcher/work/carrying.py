"""Carry a launch on: take every stage that can be taken now, and say when to come back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from launcher.demand.delivery import QUEUED, WAITING
from launcher.errors import describe, describe_refusal
from launcher.jobs import Unknown
from launcher.look import ENDS
from launcher.work import pauses
from launcher.work.console import show_console
from launcher.work.deleting import Deleting
from launcher.work.ending import AGAIN, WAITS, Ending, may_have_served
from launcher.work.limits import boot_limit, own_end
from launcher.work.placing import Placing
from launcher.work.pool_rules import PoolRules
from launcher.work.reruns import Reruns
from launcher.work.resources import PutOff, asks_elsewhere
from launcher.work.swapping import Swaps
from sidecar import github
from sidecar.aws import calls
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.demand.message import Message
    from launcher.jobs import Jobs
    from launcher.launch import Stages
    from launcher.look import Look
    from launcher.pools.pool import Pool
    from launcher.work.admission import Admission
    from launcher.work.held import Held
    from launcher.work.resources import Resources

log = structlog.get_logger()

DAY = 24 * 3600.0
"""Seconds for which GitHub keeps a job queued."""
OLD = 60.0
"""Seconds after which a message may be outdated: its job is looked up."""
UNANSWERED = 30.0
"""Seconds until GitHub is asked again about a job."""
PERMISSION = "needs Administration: write, of an organization Self-hosted runners: write"
"""What a credential needs to register runners."""
PATIENCE = 25.0
"""Seconds for the token of one runner, with all of GitHub's pauses; the lease is longer."""


class Carrier:
    """Carries launches on, one message at a time. The caller holds the launch's lease."""

    def __init__(self, around: Resources, jobs: Jobs, admission: Admission) -> None:
        self._around = around
        self._jobs = jobs
        self._admission = admission
        self._rules = PoolRules(around)
        self._placing = Placing(around, self._rules)
        self.reruns = Reruns(around, jobs)
        self.deleting = Deleting(around)
        self.swaps = Swaps(around, self.deleting)
        self.ending = Ending(around, self._rules)

    async def carry_on(self, held: Held, demand: Demand, message: Message) -> PutOff | None:
        """Take the stages that are open. None: nobody needs to come back for this launch."""
        if held.launch.settled:
            return await self.finish(held, demand)
        if self._around.now() - held.launch.first_seen > DAY:
            return await self.give_up(held, demand, "GitHub keeps a job queued for a day only")
        found = self._admission.find(held.launch.pool, demand)
        if found is None or asks_elsewhere(held.launch, found[0]):
            return await self._change_pool(held, demand)
        pool, labels = found
        if held.launch.place is None:
            pool = await self.reruns.choose_capacity(pool, demand)
        stages = self._around.stages(pool, labels, demand, held)
        return await self._take_stages(held, stages, pool, demand, message)

    async def _take_stages(
        self, held: Held, stages: Stages, pool: Pool, demand: Demand, message: Message
    ) -> PutOff | None:
        if held.launch.place is None:
            if (answer := await self._check_still_queued(held, demand, message)) is not None:
                return answer.later
            if (later := await self._placing.place(held, stages, pool, demand)) is not None:
                return later
        elif (answer := await self._look(held, demand)) is not None:
            return answer.later
        if not held.launch.handed_over:
            return await self._hand_over(held, stages, pool, demand)
        return await self._check(held, stages, pool, demand)

    async def _look(self, held: Held, demand: Demand) -> Answer | None:
        """Look at a task that was placed before. None: go on, it has not ended."""
        look = await self.ending.look(held, demand)
        if look.progress in ENDS:
            return Answer(await self.end(held, demand, look))
        if look.state is not None and look.state.stopping:
            return Answer(PutOff(AGAIN, "its task is being stopped"))
        return None

    # -- before it is placed -----------------------------------------------------------------

    async def _check_still_queued(
        self, held: Held, demand: Demand, message: Message
    ) -> Answer | None:
        """Look the job up where the message may be outdated. None: go on."""
        # A message that waited for its turn is not old: what came meanwhile is in the record.
        since = max(message.sent, held.launch.due)
        old = self._around.now() - since > OLD if message.sent else False
        if not old and message.received <= 1:
            return None
        return await self._follow_job(held, demand)

    async def _follow_job(self, held: Held, demand: Demand) -> Answer | None:
        """Do what the job's state at GitHub asks for. None: it is queued, or nobody knows."""
        found = await self.look_up(demand, spare=True)
        if isinstance(found, Unknown):
            log.info("job.unknown", job=demand.job_id, launch=held.launch.id, reason=found.reason)
            return None
        if found.action == QUEUED:
            return None
        swapped = await self.swaps.try_swap(held, found)
        if isinstance(swapped, PutOff):
            return Answer(swapped)
        return Answer(None if swapped else await self.follow(held, found))

    async def look_up(self, demand: Demand, *, spare: bool = False) -> Demand | Unknown:
        """Ask GitHub for a job's state; with `spare` only while many of its calls are left."""
        connection = self._around.connections.for_demand(demand)
        return await self._jobs.look_up(connection, demand, spare=spare)

    async def follow(self, held: Held, found: Demand) -> PutOff | None:
        """Settle a launch by what GitHub says about its job, which is not queued any more."""
        await self.settle_by(held, found)
        return await self.finish(held, found)

    async def settle_by(self, held: Held, found: Demand) -> None:
        """Write down what has become of the job."""
        launch = held.launch
        if launch.runner_name is not None and found.runner_name == launch.runner_name:
            await self.serve(held, found)
            return
        if found.action == QUEUED or launch.settled:
            return
        why = f"its job is {found.action}"
        why += f": {found.conclusion}" if found.conclusion else ""
        why += f" on {found.runner_name}" if found.runner_name else ""
        await self._settle(held, found, WAITS if found.action == WAITING else why)

    async def serve(self, held: Held, demand: Demand) -> None:
        """Write down that the launch's own runner has its job."""
        launch = held.launch
        if launch.served:
            return
        launch = await self.deleting.leave_token(launch)
        await held.save(replace(launch, served=True, online=True))
        await self._rules.count_success(launch.pool)
        log.info("launch.served", launch=launch.id, job=demand.job_id, runner=launch.runner_name)

    async def _change_pool(self, held: Held, demand: Demand) -> PutOff | None:
        """Go on with another pool: the launch's own is gone, or does not fit any more."""
        reason = f"the pool {held.launch.pool} does not serve it any more"
        if held.launch.place is not None or held.launch.request is not None:
            if (later := await self.ending.stop(held, demand, reason)) is not None:
                return later
            await held.save(held.launch.next_try(reason))
        await held.give_places()
        chosen = await self._admission.choose(demand)
        if chosen is None:
            return await self.give_up(held, demand, reason)
        if isinstance(chosen, PutOff):
            return chosen
        await held.save(replace(held.launch.with_reason(reason), pool=chosen.name))
        return PutOff(1.0, reason)

    # -- handed over -------------------------------------------------------------------------

    async def _hand_over(
        self, held: Held, stages: Stages, pool: Pool, demand: Demand
    ) -> PutOff | None:
        """Give the task its token; where that fails, until its boot ends, then stop it."""
        try:
            async with asyncio.timeout(PATIENCE):
                launch = await stages.hand_over(held.launch)
        except (SidecarError, TimeoutError) as error:
            return await self._put_off_token(held, stages, pool, demand, error)
        if not launch.handed_over:
            return PutOff(20.0, "whether its token was read is not known yet")
        left = boot_limit(pool) - (self._around.now() - launch.placed_at)
        return PutOff(min(pauses.CHECK, max(1.0, left + 1)), "its runner starts")

    async def _put_off_token(
        self, held: Held, stages: Stages, pool: Pool, demand: Demand, error: Exception
    ) -> PutOff | None:
        if isinstance(error, github.GitHubError):
            reason = f"no token: {describe_refusal(error, PERMISSION)}"
        else:
            reason = f"no token: {describe(error)}"
        transient = (calls.TransientError, github.TransientError, TimeoutError)
        seconds = self._around.now() - held.launch.placed_at
        if isinstance(error, github.RateLimited):
            await self._placing.turns.stop_configurations(stages.connection.url or "", error)
        log.warning("token.delayed", launch=held.launch.id, task=held.launch.place, reason=reason)
        if isinstance(error, transient) and seconds < pool.clocks.boot:
            return PutOff(pauses.grow(5.0, int(seconds // 30), self._around.chance, 60.0), reason)
        return await self._fail(held, demand, reason)

    async def _fail(self, held: Held, demand: Demand, reason: str) -> PutOff | None:
        """Stop a task that comes to nothing; its end begins the next try."""
        await held.save(held.launch.with_reason(reason))
        return await self.ending.stop(held, demand, reason)

    # -- online ------------------------------------------------------------------------------

    async def _check(self, held: Held, stages: Stages, pool: Pool, demand: Demand) -> PutOff | None:
        """See whether the runner is online in time, and whether its job still waits."""
        age = self._around.now() - held.launch.placed_at
        if held.launch.online:
            return await self._check_online(held, stages, pool, demand)
        limit = boot_limit(pool)
        if age < limit:
            return PutOff(min(pauses.CHECK, limit - age + 1), "its runner starts")
        if await stages.runners.is_online(held.launch):
            await held.save(replace(held.launch, online=True))
            log.info("runner.online", launch=held.launch.id, task=held.launch.place)
            return PutOff(1.0, "its runner is online")
        reason = f"no runner is online after {limit:g} s"
        await show_console(stages.ecs, held.launch, reason)
        return await self._fail(held, demand, reason)

    async def _check_online(
        self, held: Held, stages: Stages, pool: Pool, demand: Demand
    ) -> PutOff | None:
        """See whether a runner that was online still waits for its job."""
        if (answer := await self._follow_job(held, demand)) is not None:
            return answer.later
        age = self._around.now() - held.launch.placed_at
        # By then an idle agent has ended itself: unless it stands still, or cannot reach anybody.
        if age > own_end(pool, demand) and not await stages.runners.is_online(held.launch):
            reason = "its runner went offline, and its task did not end"
            await show_console(stages.ecs, held.launch, reason)
            return await self._fail(held, demand, reason)
        return PutOff(pauses.LONGEST_CHECK, "its runner waits for its job")

    # -- ended -------------------------------------------------------------------------------

    async def end(self, held: Held, demand: Demand, look: Look) -> PutOff | None:
        """Clean up after a task that has ended; where its job still waits, begin the next try."""
        if not held.launch.settled and demand.order is not None:
            await self.ending.settle_order(held, look.state)
        elif not held.launch.settled and may_have_served(look.state):
            found = await self.look_up(demand)
            if isinstance(found, Unknown):
                if found.may_pass:
                    reason = f"whether its job still waits is not known: {found.reason}"
                    return PutOff(UNANSWERED, reason)
                log.warning("job.unknown", job=demand.job_id, reason=found.reason)
            elif (later := await self._follow_taken(held, found, look)) is not None:
                return later
        if held.launch.served and held.launch.keeps_token:
            await held.save(await self.deleting.leave_token(held.launch))
        if (later := await self.ending.clean_up(held, demand, look)) is not None:
            return later
        return None if held.launch.settled else self.ending.pause(held.launch)

    async def _follow_taken(self, held: Held, found: Demand, look: Look) -> PutOff | None:
        """Learn what became of the job of a launch whose task has run another job, perhaps."""
        swapped = await self.swaps.try_swap(held, found)
        if isinstance(swapped, PutOff):
            return swapped
        if swapped:
            return PutOff(1.0, "the task belongs to another job's launch now")
        await self.settle_by(held, found)
        return None if held.launch.settled else await self.ending.wait_for_news(held, look)

    async def settle(self, held: Held, demand: Demand, why: str) -> PutOff | None:
        """Want nothing more for a launch, without a fault."""
        await self._settle(held, demand, why)
        return await self.finish(held, demand)

    async def _settle(self, held: Held, demand: Demand, why: str) -> None:
        if not held.launch.settled:
            await held.save(replace(held.launch, given_up=why))
            log.info("launch.settled", launch=held.launch.id, job=demand.job_id, reason=why)

    async def give_up(self, held: Held, demand: Demand, why: str) -> PutOff | None:
        """Give a launch up, loudly."""
        await self.ending.give_up(held, demand, why)
        return await self.finish(held, demand)

    async def finish(self, held: Held, demand: Demand) -> PutOff | None:
        """Undo what a settled launch has started, unless its runner has its job."""
        if held.launch.ended:
            await held.give_places()  # whoever wrote that it has ended may have died then
            return None
        if held.launch.served and demand.order is None:
            return None  # of an order it is written when its task has ended: it goes on from there
        if held.launch.place is None and held.launch.request is None:
            await self.ending.close(held)
            return None
        answer = await self._look(held, demand) if held.launch.place is not None else None
        if answer is not None:
            return answer.later
        if held.launch.served:
            return None
        return await self.ending.stop(held, demand, held.launch.given_up or "not needed")


@dataclass(frozen=True, slots=True)
class Answer:
    """The message's answer after a look, with which nothing else is to be done."""

    later: PutOff | None
