"""An event of EC2: a machine has ended, was stopped, or is taken by Spot. It may be lost.

So it only makes sooner what the job's own message finds by itself. What has become of the machine
is looked up: the event says neither why it ended nor whose it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import structlog

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.demand.message import Poison
from launcher.look import Look, Progress
from launcher.work.ordered import is_elsewhere
from launcher.work.task_events import end_task

if TYPE_CHECKING:
    from launcher.demand.message import Message
    from launcher.record.launch import Launch
    from launcher.work.carrying import Carrier
    from launcher.work.resources import PutOff, Resources

log = structlog.get_logger()

STATE_CHANGE = "EC2 Instance State-change Notification"
INTERRUPTION = "EC2 Spot Instance Interruption Warning"
MACHINE_EVENTS = (STATE_CHANGE, INTERRUPTION)
"""Their `detail-type`s."""
OVER = ("stopping", "stopped", "shutting-down", "terminated")
_TAKEN = re.compile(r"Server\.SpotInstance(Termination|Shutdown)")


class MachineEvents:
    """Handles state changes of machines."""

    def __init__(self, around: Resources, carrier: Carrier) -> None:
        self._around = around
        self._carrier = carrier

    async def handle(self, event: dict[str, Any], message: Message) -> PutOff | None:
        """Clean up after a machine that has ended, and begin its launch's next try."""
        detail = event.get("detail")
        machine = detail.get("instance-id") if isinstance(detail, dict) else None
        if not isinstance(machine, str) or not identity.is_machine(machine):
            raise Poison("the event of EC2 names no machine")
        id_ = await self._around.records.find(machine)
        stored = await self._around.records.read(id_) if id_ else None
        if stored is None or not stored.demand:
            return None  # it is not ours
        if is_elsewhere(stored, Demand.from_json(stored.demand)):
            return None
        if event["detail-type"] == INTERRUPTION:
            _tell_interruption(stored, machine)
        elif detail is not None and detail.get("state") in OVER:
            return await self._end(stored, machine, message)
        return None

    async def _end(self, stored: Launch, machine: str, message: Message) -> PutOff | None:
        assert self._around.ec2 is not None, "it has started the machine"  # noqa: S101
        state = (await self._around.ec2.look([machine])).get(machine)
        if state is None or not state.ended:
            return None  # another event comes, or the job's own message
        look = Look(Progress.SERVED if state.exit_code == 0 else Progress.FAILED, state)
        around, carrier = self._around, self._carrier
        if not stored.ended:
            later = await end_task(around, carrier, stored, machine, look, message)
            stored = await around.records.read(stored.id) or stored
            if later is not None or not stored.ended:
                return later
        return await carrier.reruns.ask(stored, message) if _TAKEN.match(state.reason) else None


def _tell_interruption(launch: Launch, machine: str) -> None:
    """Say that Spot takes a machine, two minutes ahead; its agent hears of it by its metadata."""
    demand = Demand.from_json(launch.demand)
    log.warning(
        "task.interrupted",
        launch=launch.id,
        job=demand.job_id,
        repository=demand.repository,
        task=machine,
        has_job=launch.served,
        reason="SpotInterruption",
    )
