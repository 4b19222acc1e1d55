"""The stop as a step of the life: first no new job, then the running one, then the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from sidecar.stop import INTERRUPT, KILL

if TYPE_CHECKING:
    from sidecar.runner.listener import Listener
    from sidecar.runner.registration import Registration
    from sidecar.stop import Stop
    from sidecar.undo import Farewell

log = structlog.get_logger()

IDLE_SHARE = 0.5
"""The part of the budget that an idle runner's removal may take before the listener is ended."""


async def drained(
    listener: Listener, registration: Registration, owed: Farewell, stop: Stop
) -> None:
    """End the listener within the stop budget.

    Idle: deregister first, which GitHub refuses for a runner that has just got a job, so that
    no job is lost between the two. Busy: let the job go on as long as the budget allows.
    """
    busy = listener.busy
    log.info("stop.heard", signal=stop.signal, busy=busy, budget=stop.budget.total)
    if not busy:
        busy = await _refused(listener, registration, stop)
    if busy:
        log.info("stop.waiting_for_job", seconds=round(stop.left_until(stop.budget.interrupt), 1))
        await stop.first(listener.ended, moment=stop.budget.interrupt, level=INTERRUPT)
    if listener.running:
        log.info("runner.interrupted", busy=busy)
        listener.interrupt()
    for debt in owed.debts:
        if not busy or debt is not registration.debt:
            debt.begin()  # side by side with the listener's own end
    await stop.first(listener.ended, moment=stop.budget.kill, level=KILL)
    if listener.running:
        log.warning("runner.killing", reason="it did not end in time")
        await listener.process.kill()


async def _refused(listener: Listener, registration: Registration, stop: Stop) -> bool:
    """Deregister an idle runner; whether GitHub refused because it is not idle any more."""
    removal = registration.debt.begin()
    moment = max(stop.budget.interrupt, IDLE_SHARE * stop.budget.total)
    await stop.first(removal, listener.ended, moment=moment, level=INTERRUPT)
    return registration.busy
