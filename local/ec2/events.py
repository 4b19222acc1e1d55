"""The events by which EC2 tells of its machines, as EventBridge passes them on."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from local import aws
from local.ec2.protocol import moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from local.ec2.machines import Machine

    Event = dict[str, Any]
    Tell = Callable[[Event], Awaitable[None]]


class Teller:
    """Tells of changes one after the other; on order one is lost."""

    def __init__(self, tell: Tell | None) -> None:
        self.told: list[Event] = []
        """All events, oldest first."""
        self.lose: Callable[[Event], bool] = lambda _event: False
        """Says whether an event is lost: EC2 tells of its machines with best effort."""
        self._tell = tell
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()

    def note_state(self, machine: Machine) -> None:
        """Note that a machine's state has changed."""
        self._note(machine, "EC2 Instance State-change Notification", {"state": machine.state})

    def note_interruption(self, machine: Machine) -> None:
        """Note that Spot takes a machine in two minutes."""
        kind = "EC2 Spot Instance Interruption Warning"
        self._note(machine, kind, {"instance-action": "terminate"})

    def note_rebalance(self, machine: Machine) -> None:
        """Note that Spot may take a machine."""
        self._note(machine, "EC2 Instance Rebalance Recommendation", {})

    def _note(self, machine: Machine, kind: str, detail: dict[str, Any]) -> None:
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": kind,
            "source": "aws.ec2",
            "account": machine.account,
            "time": f"{moment(machine.now()):%Y-%m-%dT%H:%M:%SZ}",
            "region": aws.REGION,
            "resources": [f"arn:aws:ec2:{aws.REGION}:{machine.account}:instance/{machine.id}"],
            "detail": {"instance-id": machine.id, **detail},
        }
        self.told.append(event)
        if self._tell is not None and not self.lose(event):
            self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Tell of what is noted, until cancelled."""
        while self._tell is not None:
            await self._tell(await self._waiting.get())
            self._waiting.task_done()

    async def wait_until_told(self) -> None:
        """Wait until all that is noted was told: a change is there before its event."""
        await self._waiting.join()
