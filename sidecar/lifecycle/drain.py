"""The stop as a step of the life: first no new job, then the running one, then the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from sidecar.phase import DRAINING
from sidecar.shutdown.stop import INTERRUPT, KILL

if TYPE_CHECKING:
    from sidecar.phase import Phase
    from sidecar.runner.deregistration import Deregistration
    from sidecar.runner.listener import Listener
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep
    from sidecar.shutdown.stop import Stop

log = structlog.get_logger()

IDLE_SHARE = 0.5
"""The part of the budget that an idle runner's removal may take before the listener is ended."""


@dataclass(frozen=True, slots=True)
class Drain:
    """What a drain works on."""

    listener: Listener
    deregistration: Deregistration
    cleanup_step: CleanupStep
    """The debt that the departure settles."""
    cleanup_stack: CleanupStack
    stop: Stop
    phase: Phase


async def drain_listener(drain: Drain) -> None:
    """End the listener within the stop budget.

    Idle: deregister first, which GitHub refuses for a runner that has just got a job, so that
    no job is lost between the two. Busy: let the job go on as long as the budget allows.
    """
    listener, stop = drain.listener, drain.stop
    drain.phase.enter(DRAINING)
    busy = listener.busy
    log.info("stop.requested", signal=stop.signal, busy=busy, budget=stop.budget.total)
    busy = busy or await _refused(drain) or listener.busy
    if busy:
        log.info("stop.job_awaited", seconds=round(stop.left_until(stop.budget.interrupt), 1))
        await stop.first(listener.ended, moment=stop.budget.interrupt, level=INTERRUPT)
    await ended(drain, spare=drain.cleanup_step if busy else None)


async def end_idle(drain: Drain) -> bool:
    """End an idle listener without any stop; False, and nothing done, if it just got a job."""
    if drain.listener.busy or await _refused(drain) or drain.listener.busy:
        return False
    drain.stop.start_clock()
    await ended(drain)
    return True


async def ended(drain: Drain, spare: CleanupStep | None = None) -> None:
    """Interrupt the listener and kill what is left of it; give back side by side with that.

    `spare` is not begun yet: a busy runner cannot be deregistered before its job has ended.
    """
    listener, stop = drain.listener, drain.stop
    if listener.running:
        log.info("runner.interrupted", busy=spare is not None)
        listener.interrupt()
    for cleanup_step in drain.cleanup_stack.steps:
        if cleanup_step is not spare:
            cleanup_step.begin()
    await stop.first(listener.ended, moment=stop.budget.kill, level=KILL)
    if listener.running:
        log.warning("runner.killed", reason="it did not end in time")
        await listener.process.kill()


async def _refused(drain: Drain) -> bool:
    """Deregister an idle runner; whether GitHub refused because it is not idle any more."""
    stop = drain.stop
    moment = max(stop.budget.interrupt, IDLE_SHARE * stop.budget.total)
    await stop.first(
        drain.cleanup_step.begin(), drain.listener.ended, moment=moment, level=INTERRUPT
    )
    return drain.deregistration.busy
