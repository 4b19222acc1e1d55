"""The events by which ECS tells of its tasks, as EventBridge passes them on."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from local import aws, sqs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from local.ecs.tasks import Task

    Event = dict[str, Any]
    Tell = Callable[[Event], Awaitable[None]]

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


class Teller:
    """Tells of changes one after the other; on order one is lost or comes twice."""

    def __init__(self, tell: Tell | None) -> None:
        self.told: list[Event] = []
        """All events, oldest first."""
        self.lose: Callable[[Event], bool] = lambda _event: False
        """Says whether an event is lost."""
        self.repeat: Callable[[Event], bool] = lambda _event: False
        """Says whether an event comes twice, with the same `detail.version`."""
        self._tell = tell
        self._waiting: asyncio.Queue[Event] = asyncio.Queue()

    def note(self, task: Task) -> None:
        """Note a change."""
        event = state_change(task)
        self.told.append(event)
        if self._tell is None or self.lose(event):
            return
        for _ in range(2 if self.repeat(event) else 1):
            self._waiting.put_nowait(event)

    async def run(self) -> None:
        """Tell of what is noted, until cancelled."""
        while self._tell is not None:
            await self._tell(await self._waiting.get())
            self._waiting.task_done()

    async def wait_until_told(self) -> None:
        """Wait until all that is noted was told: a change is there before its event."""
        await self._waiting.join()
