"""End what a launch has started: stop it, clean up after it, count its faults."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.look import explain_end
from launcher.places import TaskState, ec2_answers, ecs
from launcher.record.launch import LONGEST_REASON
from launcher.work import pauses
from launcher.work.resources import PutOff
from sidecar.errors import Exit

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.look import Look
    from launcher.record.launch import Launch
    from launcher.work.held import Held
    from launcher.work.pool_rules import PoolRules
    from launcher.work.resources import Resources

log = structlog.get_logger()

TOOK_ANOTHER = (Exit.DONE, Exit.REFUSED)
"""Exit codes of an agent whose runner got a job: one that ran, or one that it refused to run."""

TRIES = 3
"""Tasks that may end by a fault, for one job; and runners that other jobs may take."""
NEWS, LONGEST_NEWS = 30.0, 10.0
"""Seconds for which the news of a job that took a runner may be late, and between two looks."""
AGAIN = 30.0
"""Seconds until a cleanup step that failed is taken again."""
WAITS = "its job waits for an approval"
_ONLINE = {
    Exit.DONE,
    Exit.REFUSED,
    Exit.STOPPED,
    Exit.IDLE,
    Exit.LIFETIME,
    Exit.GHOST,
    Exit.CANCELLED,
}


def may_have_served(state: TaskState | None) -> bool:
    """Whether the agent may have had a job, or ended because nobody needed it.

    Of a machine that says nothing at its end nobody knows.
    """
    if state is None or (state.exit_code is None and identity.is_machine(state.task)):
        return True
    return state.exit_code in {*_ONLINE, Exit.LEFT_BEHIND}


def _lacks_room(reason: str) -> bool:
    return ecs.lacks_room(reason) or ec2_answers.lacks_room(reason)


class Ending:
    """Ends tasks. The caller holds the launch's lease."""

    def __init__(self, around: Resources, rules: PoolRules) -> None:
        self._around = around
        self._rules = rules

    async def look(self, held: Held, demand: Demand) -> Look:
        """Look at the launch's task, and not at its runner."""
        stages = self._around.ending_stages(held.launch, demand, held)
        return await stages.look(held.launch, ask_github=False)

    async def stop(self, held: Held, demand: Demand, reason: str) -> PutOff | None:
        """Undo runner, task and token; come back until the task has ended. None: there is none."""
        stages = self._around.ending_stages(held.launch, demand, held)
        launch, cleanup = await stages.undo(held.launch, reason)
        if cleanup.busy:
            return PutOff(pauses.LONGEST_CHECK, "its runner has a job: they end together")
        if cleanup.left:
            return PutOff(AGAIN, f"cannot be undone yet: {', '.join(cleanup.left)}")
        if launch.place is None:
            if launch.settled:
                await self.close(held)
            return None
        return PutOff(AGAIN, "its task is being stopped")

    async def wait_for_news(self, held: Held, look: Look) -> PutOff | None:
        """Wait a little for the news of the job that the launch's runner has run. None: go on.

        The launch of that job has a task that is free now. It comes with the news, and without
        them this launch would start another one.
        """
        if look.state is None or look.state.exit_code not in TOOK_ANOTHER:
            return None
        now = self._around.now()
        if not held.launch.taken_at:
            await held.save(replace(held.launch, taken_at=now))
        left = held.launch.taken_at + NEWS - now
        return PutOff(min(left, LONGEST_NEWS), "which job took its runner") if left > 0 else None

    async def clean_up(self, held: Held, demand: Demand, look: Look) -> PutOff | None:
        """Remove what an ended task has left; then close the launch, or prepare its next try."""
        launch = held.launch
        ended = look.state or TaskState(launch.place or "", "STOPPED", True, None, "")
        is_clean = launch.served and ended.exit_code == Exit.DONE  # then its agent has done it
        if not is_clean or launch.may_be_left:
            stages = self._around.ending_stages(launch, demand, held)
            _, cleanup = await stages.undo(launch, "its task has ended", ended)
            if cleanup.left:
                return PutOff(AGAIN, f"cannot be undone yet: {', '.join(cleanup.left)}")
        if not launch.settled:
            await self._prepare_next_try(held, demand, look.state)
        if held.launch.settled:
            await self.close(held)
        return None

    async def settle_order(self, held: Held, state: TaskState | None) -> None:
        """Settle what a caller of the API has ordered, unless its task ended by a fault.

        No job's state tells whether its runner is still wanted: the agent's exit code does.
        """
        if not may_have_served(state) or (state is not None and _lacks_room(state.reason)):
            return
        if state is not None and state.exit_code in (*TOOK_ANOTHER, Exit.LEFT_BEHIND):
            await held.save(replace(held.launch, served=True, online=True))
            log.info("launch.served", launch=held.launch.id, runner=held.launch.runner_name)
            return
        reason = explain_end(state)
        await held.save(replace(held.launch.with_reason(reason), given_up=reason[:LONGEST_REASON]))
        log.info("launch.settled", launch=held.launch.id, reason=reason)

    async def _prepare_next_try(self, held: Held, demand: Demand, state: TaskState | None) -> None:
        launch, reason = held.launch, explain_end(state)
        facts = {"launch": launch.id, "job": demand.job_id, "task": launch.place}
        if state is not None and _lacks_room(state.reason):  # a good answer that came to nothing
            log.warning("task.delayed", **facts, why="capacity", reason=reason)
            await held.save(launch.next_try(reason))
            return
        if state is not None and state.exit_code in TOOK_ANOTHER:
            log.warning("launch.stolen", **facts, runner=launch.runner_name, reason=reason)
            launch = launch.stolen(f"another job took {launch.runner_name}")
        else:
            log.warning("task.failed", **facts, reason=reason)
            launch = replace(launch, failures=launch.failures + 1)
            await self._rules.count_failure(launch.pool, reason)
        await held.save(launch.next_try(reason))
        await self.check_tries(held, demand)

    async def check_tries(self, held: Held, demand: Demand) -> None:
        """Give a launch up whose tries are used up."""
        launch = held.launch
        if demand.is_warm:
            return  # being taken is what it is for; the pool's breaker counts its faults
        if launch.failures >= TRIES:
            why = f"{TRIES} tasks ended before their runners had the job"
            await self.give_up(held, demand, f"{why}; the last: {launch.reasons[-1]}")
        elif launch.thefts > TRIES:
            await self.give_up(held, demand, f"other jobs took {launch.thefts} of its runners")

    async def give_up(self, held: Held, demand: Demand, why: str) -> None:
        """Give a launch up, loudly."""
        launch = await held.save(held.launch.give_up(why))
        log.error(
            "launch.given_up",
            launch=launch.id,
            job=demand.job_id,
            repository=demand.repository,
            pool=launch.pool,
            reason=why,
            reasons=list(launch.reasons),
        )

    async def leave_line(self, held: Held) -> None:
        """Let the next launch of the pool go first: this one has a task, or wants none."""
        await self._rules.leave_line(held.launch)

    async def close(self, held: Held) -> None:
        """Write down that nothing of the launch is left, and free its places."""
        await held.give_places()
        if not held.launch.ended:
            await self.leave_line(held)
            await held.save(replace(held.launch, ended=True))
            log.info("launch.ended", launch=held.launch.id, pool=held.launch.pool)

    def pause(self, launch: Launch) -> PutOff:
        """Return how long the next try waits."""
        seconds = pauses.grow(1.0, launch.tries - 2, self._around.chance, 300.0)
        return PutOff(seconds, "the next try")
