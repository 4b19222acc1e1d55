"""Rules for a pool as a whole: its breaker, who waits first, and how fast tasks are started."""

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
RATE, BURST = 20.0, 20.0
"""RunTask's own limit for Fargate: calls a second, and at once."""
SPARE = 60.0
"""Seconds for which the oldest is waited for beyond its own pause."""


class PoolRules:
    """Says whether a launch may start its task now. Every call raises AwsError."""

    def __init__(self, around: Resources) -> None:
        self._around = around
        self._states = around.records.pools
        self._pace = Pace()

    async def check(self, launch: Launch) -> PutOff | PoolState:
        """Return the pool's state where the launch may start its task now."""
        state = await self._states.read(launch.pool)
        if (later := self._check_order(launch, state)) is not None:
            return later
        if (later := await self._check_breaker(launch, state)) is not None:
            return later
        seconds = self._pace.take(launch.id, self._around.now())
        if seconds > 0:
            return PutOff(seconds, f"RunTask takes {RATE:g} calls a second")
        return state

    # -- who waits first ---------------------------------------------------------------------

    def _check_order(self, launch: Launch, state: PoolState) -> PutOff | None:
        now = self._around.now()
        waits = state.oldest not in (None, launch.id) and state.oldest_until > now
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

    # -- breaker -----------------------------------------------------------------------------

    async def _check_breaker(self, launch: Launch, state: PoolState) -> PutOff | None:
        if state.failures < FAILURES:
            return None
        now = self._around.now()
        reason = f"the pool is stopped: its last {state.failures} tasks failed"
        if state.stopped_until > now:
            spread = self._around.chance.uniform(0, 30)
            return PutOff(state.stopped_until - now + spread, reason)
        if await self._states.stop(launch.pool, state, now + _stop(state.failures)):
            log.info("pool.tried", pool=launch.pool, launch=launch.id, failures=state.failures)
            return None
        return PutOff(pauses.grow(60.0, 0, self._around.chance), reason)

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


class Pace:
    """Spreads the starts of this process: a launch that comes too early gets a turn of its own."""

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._step = 1 / rate
        self._burst = burst / rate
        self._next = 0.0
        self._turns: dict[str, float] = {}

    def take(self, launch: str, now: float) -> float:
        """Return the seconds until the launch's turn; 0 if that is now."""
        turn = self._turns.pop(launch, None)
        if turn is not None and turn <= now + 1:
            return 0.0
        if turn is None:
            turn = self._next = max(self._next, now - self._burst) + self._step
        if turn <= now:
            return 0.0
        self._turns[launch] = turn
        if len(self._turns) > 100_000:  # turns that were never taken
            self._turns = {key: at for key, at in self._turns.items() if at > now - 3600}
        return turn - now
