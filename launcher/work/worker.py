"""Handle one message of the queue: tell the kinds apart, and give each to its part."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from launcher.demand.delivery import Demand
from launcher.demand.message import Poison
from launcher.jobs import Jobs
from launcher.work.admission import Admission
from launcher.work.carrying import Carrier
from launcher.work.job_news import JobNews
from launcher.work.machine_events import MACHINE_EVENTS, MachineEvents
from launcher.work.queued import Queued
from launcher.work.task_events import TaskEvents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from launcher.demand.message import Message
    from launcher.work.resources import PutOff, Resources

    Tick = Callable[[], Awaitable[object]]

TASK_EVENT = "ECS Task State Change"


async def _do_nothing() -> None:
    """Take a tick that nobody needs."""


class Worker:
    """Handles messages, any number of them side by side.

    `tick` is called once for each tick.
    """

    def __init__(self, around: Resources, tick: Tick = _do_nothing) -> None:
        jobs = Jobs(around.records.runs)
        admission = Admission(around, jobs)
        carrier = Carrier(around, jobs, admission)
        self._queued = Queued(around, carrier, admission)
        self._news = JobNews(around, carrier, admission)
        self._events = TaskEvents(around, carrier)
        self._machine_events = MachineEvents(around, carrier)
        self._deleting = carrier.deleting
        self._tick = tick

    async def handle(self, message: Message) -> PutOff | None:
        """Do what can be done now. None: the message is done with.

        Raises SidecarError where it has to come again, Poison where it is not understood.
        """
        body = _read(message.body)
        if body.get("detail-type") == TASK_EVENT:
            return await self._events.handle(body, message)
        if body.get("detail-type") in MACHINE_EVENTS:
            return await self._machine_events.handle(body, message)
        if body.get("kind") == "tick":
            await self._deleting.delete()
            await self._tick()
            return None
        return await self._take_demand(_read_demand(message.body), message)

    async def _take_demand(self, demand: Demand, message: Message) -> PutOff | None:
        match demand.action:
            case "queued":
                return await self._queued.handle(demand, message)
            case "waiting":
                return await self._news.handle_waiting(demand, message)
            case "in_progress":
                return await self._news.handle_in_progress(demand, message)
            case "completed":
                return await self._news.handle_completed(demand, message)
        raise Poison(f"the message has an unknown action: {demand.action:.50}")


def _read(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Poison("the message is not JSON") from error
    if not isinstance(body, dict):
        raise Poison("the message is no JSON object")
    return body


def _read_demand(text: str) -> Demand:
    try:
        return Demand.from_json(text)
    except ValueError as error:
        raise Poison(str(error)) from error
