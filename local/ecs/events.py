"""The events by which ECS tells of its tasks, as EventBridge passes them on."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from local import aws, sqs, telling

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.ecs.tasks import Task
    from local.telling import Event, Tell

_TIMES = ("createdAt", "startedAt", "stoppedAt")


def state_change(task: Task) -> Event:
    """Write the event `ECS Task State Change`: the task as it is now, without its tags."""
    detail = task.describe()
    for name in _TIMES:
        if name in detail:
            detail[name] = _moment(detail[name])
    detail["updatedAt"] = _moment(task.now())
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": aws.ACCOUNT,
        "time": datetime.fromtimestamp(task.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": aws.REGION,
        "resources": [task.arn],
        "detail": detail,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def send_to_queue(endpoint: str, queue: str) -> Tell:
    """Return what sends events to the queue of this URL, as a rule of EventBridge does."""

    async def tell(event: Event) -> None:
        await asyncio.to_thread(sqs.send, endpoint, queue, event)

    return tell


class Teller(telling.Teller):
    """Tells of tasks; on order an event also comes twice."""

    def __init__(self, tell: Tell | None) -> None:
        super().__init__(tell)
        self.repeat: Callable[[Event], bool] = lambda _event: False
        """Says whether an event comes twice, with the same `detail.version`."""

    def note(self, task: Task) -> None:
        """Note a change."""
        event = state_change(task)
        self.put(event, 2 if self.repeat(event) else 1)
