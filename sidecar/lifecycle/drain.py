"""End the listener within the stop budget: no new job, then the running job, then the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from sidecar.phase import DRAINING
from sidecar.process import user_kill
from sidecar.shutdown.cleanup import When
from sidecar.shutdown.stop import INTERRUPT, KILL

if TYPE_CHECKING:
    from sidecar.phase import Phase
    from sidecar.runner.deregistration import Deregistration
    from sidecar.runner.listener import Listener
    from sidecar.shutdown.budget import Budget
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep
    from sidecar.shutdown.stop import Moment, Stop

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Drain:
    """The parts of a life that its end needs."""

    listener: Listener
    deregistration: Deregistration
    cleanup_step: CleanupStep
    """The step that runs the deregistration."""
    cleanup_stack: CleanupStack
    stop: Stop
    phase: Phase


async def drain_listener(drain: Drain) -> None:
    """End the listener after a stop, within the stop budget.

    Idle: deregister the runner first. GitHub refuses that for a runner that has just got a job,
    so no job is lost in between. Busy: let the job go on for as long as the budget allows.
    """
    listener, stop = drain.listener, drain.stop
    drain.phase.enter(DRAINING)
    busy = listener.busy
    log.info("stop.requested", signal=stop.signal, busy=busy, budget=stop.budget.total)
    await user_kill.slow_down()
    # After a job the listener ends by itself. Deregistration waits for the job's processes.
    busy = busy or listener.had_job or await _deregister_is_refused(drain) or listener.busy
    if busy:
        log.info("stop.job_awaited", seconds=round(stop.left_until(stop.budget.interrupt), 1))
        await stop.wait_for_first(listener.ended, moment=_interrupt, level=INTERRUPT)
    await end_listener(drain, skip=drain.cleanup_step if busy else None)


async def end_if_idle(drain: Drain) -> bool:
    """End an idle listener without a stop; return False, and do nothing, if it just got a job."""
    listener = drain.listener
    if listener.busy or listener.had_job or await _deregister_is_refused(drain) or listener.busy:
        return False
    drain.stop.start_clock()
    await end_listener(drain)
    return True


async def end_listener(drain: Drain, skip: CleanupStep | None = None) -> None:
    """Interrupt the listener, begin the cleanup beside it, and kill what has not ended in time.

    The step `skip` is not begun yet: a busy runner cannot be deregistered before its job has ended.
    After a job no runner is deregistered before the kill: what the job left may read the token in
    the environment of `remove`. The steps that remove what a job needs, or what keeps it within its
    bounds, come then too: the job goes on for some seconds. An ended listener may leave processes
    of its job: they are killed, and looked for no longer than the budget allows: what is begun
    after that needs time too. A listener that cannot be interrupted goes on only while it has a
    job.
    """
    listener, stop = drain.listener, drain.stop
    reason = "it did not end in time"
    moment: Moment = _kill
    if listener.running and not listener.interrupt(busy=skip is not None) and skip is None:
        # Nothing would end it, and it has no job: there is nothing to wait for.
        reason, moment = "it could not be interrupted", _at_once
    after_kill = drain.cleanup_step if listener.had_job else skip
    drain.cleanup_stack.begin_steps(When.ANY_TIME, after_kill)
    await stop.wait_for_first(listener.ended, moment=moment, level=KILL)
    if listener.running:
        log.warning("runner.killed", reason=reason)
    if killed := await listener.process.kill(stop.left_until(stop.budget.killed)):
        log.info("process.killed", pid=listener.process.pid, processes=killed)
    drain.cleanup_stack.begin_steps(When.JOB_ENDED, skip)


async def _deregister_is_refused(drain: Drain) -> bool:
    """Deregister an idle runner; return whether GitHub refused because it has a job by now."""
    await drain.stop.wait_for_first(
        drain.cleanup_step.begin(),
        drain.listener.ended,
        moment=lambda budget: budget.deregister,
        level=INTERRUPT,
    )
    return drain.deregistration.busy


def _interrupt(budget: Budget) -> float:
    return budget.interrupt


def _kill(budget: Budget) -> float:
    return budget.kill


def _at_once(_budget: Budget) -> float:
    return 0.0
