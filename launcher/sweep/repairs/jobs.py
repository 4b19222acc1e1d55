"""Give the workers jobs that nobody serves: their message was lost, or never came.

No API lists the queued jobs of an organization. First the table tells: a launch whose message lives
is written at least every quarter of an hour. Then the repositories that have had jobs within a day
are asked for their runs, as far as a tenth of GitHub's calls allows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.sweep.findings import Finding, Kind, Outcome
from launcher.sweep.inventory import DAY, is_in_other_account
from launcher.sweep.repairs.runs import QueuedJobs
from launcher.work.held import hold
from launcher.work.machine_events import STATE_CHANGE
from launcher.work.worker import TASK_EVENT

if TYPE_CHECKING:
    from launcher.demand.delivery import Demand
    from launcher.record.launch import Launch
    from launcher.sweep.around import Around
    from launcher.sweep.findings import Report
    from launcher.sweep.inventory import Inventory
    from launcher.sweep.repairs.deliveries import Deliveries

FORGOTTEN = 2700.0
"""Seconds without a change after which no message carries a launch on: SQS delays by 900."""
UNTOLD = 600.0
"""Seconds after which the end of a task should have been told."""
AGAIN = 3600.0
"""Seconds until a job is given to the workers again that they have left alone."""


class LostJobs:
    """Repairs launches and jobs that nobody serves."""

    def __init__(self, around: Around, deliveries: Deliveries) -> None:
        self._around = around
        self._deliveries = deliveries
        self._queued = QueuedJobs(around)
        self._sent: dict[int, float] = {}
        """The time at which a job without a record was given to the workers, by its number."""

    async def repair(self, seen: Inventory, report: Report, *, dry_run: bool) -> None:
        """Look at the launches of the table, then at the jobs that GitHub has."""
        if self._around.records is None:
            return
        if self._around.queue is None:
            report.leave_out("queued jobs that nobody serves", "LAUNCHER_QUEUE_URL is not set")
            return
        for launch, demand, written in seen.list_launches():
            if demand.is_warm:
                continue  # each tick looks after them
            if demand.order is not None:
                if _is_left_alone(launch, demand, seen, seen.begun - written):
                    await self._open_order(launch, report, dry_run=dry_run)
                continue
            message = _find_message(launch, demand, seen, seen.begun - written)
            if message is not None:
                await self._send(launch, message, report, dry_run=dry_run)
        await self._find_jobs(seen, report, dry_run=dry_run)

    async def _send(
        self, launch: Launch, message: tuple[str, str], report: Report, *, dry_run: bool
    ) -> None:
        """Send a launch's message, unless somebody carries it on after all."""
        text, reason = message
        finding = Finding(Kind.JOB, f"launch {launch.id}", reason)
        if dry_run:
            report.add(finding, Outcome.WOULD_SEND)
            return
        records, queue = self._around.records, self._around.queue
        assert records is not None, "asked before"  # noqa: S101
        assert queue is not None, "asked before"  # noqa: S101
        # Holding it writes it: so it is not sent again before it is forgotten once more.
        async with hold(records, launch) as held:
            if held is None or held.launch.version != launch.version + 1:
                return
            # As one that was put off: a new message of a known launch would be left alone.
            await queue.send(text, first_seen=launch.first_seen, count=1)
        report.add(finding, Outcome.SENT)

    async def _open_order(self, launch: Launch, report: Report, *, dry_run: bool) -> None:
        """Have the API look after an order: the process that took it has ended since."""
        finding = Finding(Kind.JOB, f"launch {launch.id}", "nobody looks after its order")
        if dry_run:
            report.add(finding, Outcome.WOULD_SEND)
            return
        records = self._around.records
        assert records is not None, "asked before"  # noqa: S101
        await records.open_order(launch.id)
        report.add(finding, Outcome.SENT)

    async def _find_jobs(self, seen: Inventory, report: Report, *, dry_run: bool) -> None:
        now = seen.begun
        self._sent = {job: at for job, at in self._sent.items() if now - at < AGAIN}
        async for demand, since in self._queued.find(seen, report):
            if demand.job_id in self._sent:
                continue
            if not await self._deliveries.is_unserved(demand, report):
                continue
            reason = f"it is queued for {(now - since) / 60:.0f} minutes, and nobody works on it"
            finding = Finding(Kind.JOB, f"job {demand.job_id} of {demand.repository}", reason)
            if dry_run:
                report.add(finding, Outcome.WOULD_SEND)
                continue
            queue = self._around.queue
            assert queue is not None, "asked before"  # noqa: S101
            await queue.send(demand.to_json(), first_seen=since)
            self._sent[demand.job_id] = now
            report.add(finding, Outcome.SENT)


def _is_left_alone(launch: Launch, demand: Demand, seen: Inventory, age: float) -> bool:
    """Say whether an order's launch holds something, and the API seems to have forgotten it.

    In another account the API looks after its orders by itself.
    """
    if is_in_other_account(demand) or not UNTOLD < age < DAY:
        return False
    if launch.ended:
        return bool(launch.counters)
    if launch.place is None:
        return bool(launch.counters or launch.request)
    return seen.is_gone(identity.task_id(launch.place))


def _find_message(
    launch: Launch, demand: Demand, seen: Inventory, age: float
) -> tuple[str, str] | None:
    """Return the message that a launch needs, and why; None: it needs none."""
    if launch.ended or age > DAY:
        return None
    if not launch.settled:
        minutes = f"for {age / 60:.0f} minutes"
        again = (launch.demand, f"job {demand.job_id}: nobody has carried its launch on {minutes}")
        return again if age > FORGOTTEN else None
    if age < UNTOLD or launch.place is None:
        return (launch.demand, "it is settled, and not ended") if age > FORGOTTEN else None
    if not seen.is_gone(identity.task_id(launch.place)):
        return None
    return _make_end(launch.place), f"nobody has told that {launch.place} has ended"


def _make_end(place: str) -> str:
    """Make the event that was lost, as far as it is known."""
    if identity.is_machine(place):
        detail: dict[str, Any] = {"instance-id": place, "state": "terminated"}
        return json.dumps({"detail-type": STATE_CHANGE, "detail": detail})
    detail = {
        "taskArn": place,
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stoppedReason": "its end was found by the sweep",
        "containers": [],
    }
    return json.dumps({"detail-type": TASK_EVENT, "detail": detail})
