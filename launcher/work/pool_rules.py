"""Rules for a pool as a whole: its breaker, and who waits first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from launcher.work import pauses
from launcher.work.resources import PutOff

if TYPE_CHECKING:
    from launcher.record.launch import Launch
    from launcher.record.pool_state import PoolState
    from launcher.work.resources import Resources

log = structlog.get_logger()

FAILURES = 6
"""Faults in a row that stop a pool: those of more than one launch."""
FIRST_STOP, LONGEST_STOP = 60.0, 900.0
"""Seconds for which a pool is stopped; then one launch tries, and a fault doubles them."""
SPARE = 60.0
"""Seconds for which the oldest is waited for beyond its own pause."""


class PoolRules:
    """Says whether a launch may start its task now. Every call raises AwsError."""

    def __init__(self, around: Resources) -> None:
        self._around = around
        self._states = around.records.pools

    async def check(self, launch: Launch) -> PutOff | PoolState:
        """Return the pool's state where the launch may start its task, when its turn comes."""
        state = await self._states.read(launch.pool)
        later = self._check_order(launch, state) or self._check_stop(state)
        return state if later is None else later

    # -- who waits first ---------------------------------------------------------------------

    def _check_order(self, launch: Launch, state: PoolState) -> PutOff | None:
        now = self._around.now()
        waits = state.oldest not in (None, launch.id) and state.oldest_until > now
        if launch.request is not None:  # what became of it is asked in any case, and it has a place
            return None
        if not waits or state.oldest_seen >= launch.first_seen:
            return None
        seconds = pauses.grow(8.0, int(now - launch.first_seen) // 60, self._around.chance, 60.0)
        return PutOff(seconds, "a job that is older waits for room in the pool")

    async def wait_for_room(self, launch: Launch, seconds: float) -> None:
        """Write down that this launch waits, so that no younger one goes before it."""
        until = self._around.now() + seconds + SPARE
        await self._states.wait_first(launch.pool, launch.id, launch.first_seen, until)

    async def stop_waiting(self, launch: Launch, state: PoolState) -> None:
        """Let the next one go first."""
        if state.oldest == launch.id:
            await self._states.stop_waiting(launch.pool, launch.id)

    async def leave_line(self, launch: Launch) -> None:
        """Let the next one go first where this launch waited for room, and wants none any more."""
        await self.stop_waiting(launch, await self._states.read(launch.pool))

    # -- breaker -----------------------------------------------------------------------------

    def _check_stop(self, state: PoolState) -> PutOff | None:
        now = self._around.now()
        if state.failures < FAILURES or state.stopped_until <= now:
            return None
        spread = self._around.chance.uniform(0, 30)
        return PutOff(state.stopped_until - now + spread, _explain(state))

    async def try_stopped(self, launch: Launch, state: PoolState) -> PutOff | None:
        """Let one launch alone try a pool that was stopped. None: this launch may start."""
        if state.failures < FAILURES:
            return None
        now = self._around.now()
        if await self._states.stop(launch.pool, state, now + _stop(state.failures)):
            log.info("pool.tried", pool=launch.pool, launch=launch.id, failures=state.failures)
            return None
        return PutOff(pauses.grow(60.0, 0, self._around.chance), _explain(state))

    async def count_failure(self, pool: str, reason: str) -> None:
        """Count a fault of a pool's task, or a refusal; enough of them stop the pool."""
        failures = await self._states.count_failure(pool)
        if failures < FAILURES:
            return
        state = await self._states.read(pool)
        seconds = _stop(failures)
        if await self._states.stop(pool, state, self._around.now() + seconds):
            facts = {"pool": pool, "failures": failures, "seconds": seconds}
            log.error("pool.stopped", **facts, reason=reason)

    async def count_success(self, pool: str) -> None:
        """Forget a pool's faults: a runner of its has got a job."""
        state = await self._states.read(pool)
        if state.failures:
            await self._states.recover(pool)
        if state.failures >= FAILURES:
            log.info("pool.resumed", pool=pool)


def _stop(failures: int) -> float:
    return min(LONGEST_STOP, FIRST_STOP * 2.0 ** min(failures - FAILURES, 10))


def _explain(state: PoolState) -> str:
    return f"the pool is stopped: its last {state.failures} tasks failed"
