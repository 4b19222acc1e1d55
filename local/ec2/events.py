"""The events by which EC2 tells of its machines, as EventBridge passes them on."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from local import aws, telling
from local.ec2.protocol import moment

if TYPE_CHECKING:
    from local.ec2.machines import Machine


class Teller(telling.Teller):
    """Tells of machines."""

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
        self.put(event)
