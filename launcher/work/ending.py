"""End what a launch has started: stop it, clean up after it, count its faults."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from launcher.launch import explain_end
from launcher.places import TaskState
from launcher.places.ecs import lacks_room
from launcher.work import pauses
from launcher.work.resources import PutOff
from sidecar.errors import Exit

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.launch import Look
    from launcher.record.launch import Launch
    from launcher.work.held import Held
    from launcher.work.pool_rules import PoolRules
    from launcher.work.resources import Resources

log = structlog.get_logger()

TOOK_ANOTHER = (Exit.DONE, Exit.REFUSED)
"""Exit codes of an agent whose runner got a job: one that ran, or one that it refused to run."""

TRIES = 3
"""Tasks that may end by a fault, for one job; and runners that other jobs may take."""
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
    """Whether the agent may have had a job, or ended because nobody needed it."""
    return state is None or state.exit_code in {*_ONLINE, Exit.LEFT_BEHIND}


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

    async def clean_up(self, held: Held, demand: Demand, look: Look) -> PutOff | None:
        """Remove what an ended task has left; then close the launch, or prepare its next try."""
        launch = held.launch
        ended = look.state or TaskState(launch.place or "", "STOPPED", True, None, "")
        if not (launch.served and ended.exit_code == Exit.DONE):  # else its agent has done it
            stages = self._around.ending_stages(launch, demand, held)
            _, cleanup = await stages.undo(launch, "its task has ended", ended)
            if cleanup.left:
                return PutOff(AGAIN, f"cannot be undone yet: {', '.join(cleanup.left)}")
        if not launch.settled:
            await self._prepare_next_try(held, demand, look.state)
        if held.launch.settled:
            await self.close(held)
        return None

    async def _prepare_next_try(self, held: Held, demand: Demand, state: TaskState | None) -> None:
        launch, reason = held.launch, explain_end(state)
        facts = {"launch": launch.id, "job": demand.job_id, "task": launch.place}
        if state is not None and lacks_room(state.reason):  # a good answer that came to nothing
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

    async def close(self, held: Held) -> None:
        """Write down that nothing of the launch is left, and free its places."""
        await held.give_places()
        if not held.launch.ended:
            await held.save(replace(held.launch, ended=True))
            log.info("launch.ended", launch=held.launch.id, pool=held.launch.pool)

    def pause(self, launch: Launch) -> PutOff:
        """Return how long the next try waits."""
        seconds = pauses.grow(1.0, launch.tries - 2, self._around.chance, 300.0)
        return PutOff(seconds, "the next try")
