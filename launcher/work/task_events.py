"""An event of ECS: a task has ended, or Spot takes it. It may come late, twice, or too early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from launcher import identity
from launcher.demand.delivery import Demand
from launcher.demand.message import Poison
from launcher.look import Look, Progress
from launcher.places.ecs import INTERRUPTIONS, read_state
from launcher.work import pauses
from launcher.work.held import hold
from launcher.work.ordered import is_elsewhere
from launcher.work.resources import PutOff

if TYPE_CHECKING:
    from launcher.demand.message import Message
    from launcher.record.launch import Launch
    from launcher.work.carrying import Carrier
    from launcher.work.resources import Resources

log = structlog.get_logger()

AT_ONCE = 3
"""Tries that begin as soon as the one before has ended; later ones come with the job's message."""


class TaskEvents:
    """Handles state changes of tasks."""

    def __init__(self, around: Resources, carrier: Carrier) -> None:
        self._around = around
        self._carrier = carrier

    async def handle(self, event: dict[str, Any], message: Message) -> PutOff | None:
        """Clean up after a task that has ended, and begin its launch's next try."""
        detail = event.get("detail")
        if not isinstance(detail, dict) or not isinstance(detail.get("taskArn"), str):
            raise Poison("the event of ECS names no task")
        interrupted = detail.get("stopCode") in INTERRUPTIONS
        if detail.get("lastStatus") != "STOPPED" and not interrupted:
            return None
        stored = await self._find_launch(detail)
        if stored is None:
            return None  # it is not ours, or the command line's, or the API's alone
        if detail.get("lastStatus") != "STOPPED":
            _tell_interruption(stored, detail)
            return None
        if not stored.ended:
            later = await self._end(stored, detail, message)
            stored = await self._around.records.read(stored.id) or stored
            if later is not None or not stored.ended:
                return later
        return await self._carrier.reruns.ask(stored, message) if interrupted else None

    async def _find_launch(self, detail: dict[str, Any]) -> Launch | None:
        id_ = await self._around.records.find(identity.task_id(detail["taskArn"]))
        id_ = id_ or identity.launch_of_order(str(detail.get("startedBy", "")))
        stored = await self._around.records.read(id_) if id_ else None
        if stored is None or not stored.demand:
            return None
        return None if is_elsewhere(stored, Demand.from_json(stored.demand)) else stored

    async def _end(self, stored: Launch, detail: dict[str, Any], message: Message) -> PutOff | None:
        task, look = identity.task_id(detail["taskArn"]), self._read(detail)
        return await end_task(self._around, self._carrier, stored, task, look, message)

    def _read(self, detail: dict[str, Any]) -> Look:
        containers = detail.get("containers")
        known = containers if isinstance(containers, list) else []
        state = read_state({**detail, "containers": known}, self._agent(detail))
        return Look(Progress.SERVED if state.exit_code == 0 else Progress.FAILED, state)

    def _agent(self, detail: dict[str, Any]) -> str:
        """Return the agent's container: the one whose environment the launcher has set."""
        overrides = detail.get("overrides")
        listed = overrides.get("containerOverrides") if isinstance(overrides, dict) else None
        for each in listed if isinstance(listed, list) else []:
            if isinstance(each, dict) and each.get("environment"):
                return str(each.get("name"))
        return "runner"


async def end_task(
    around: Resources,
    carrier: Carrier,
    stored: Launch,
    task: str,
    look: Look,
    message: Message,
) -> PutOff | None:
    """Clean up after a task, by its id, that has ended, and begin its launch's next try."""
    demand = Demand.from_json(stored.demand)
    async with hold(around.records, stored) as held:
        if held is None:
            return PutOff(pauses.HELD, "another worker carries its launch on")
        if held.launch.place is None or identity.task_id(held.launch.place) != task:
            return None  # an earlier try's, or one whose request is not settled yet
        later = await carrier.end(held, demand, look)
        if later is None or held.launch.place is not None:
            return later
        # The job's own message comes back in any case: this is only sooner.
        if held.launch.tries <= AT_ONCE:
            await carrier.carry_on(held, demand, message)
        return None


def _tell_interruption(launch: Launch, detail: dict[str, Any]) -> None:
    """Say that Spot takes a task, two minutes ahead; its agent hears of it by SIGTERM."""
    demand = Demand.from_json(launch.demand)
    log.warning(
        "task.interrupted",
        launch=launch.id,
        job=demand.job_id,
        repository=demand.repository,
        task=detail["taskArn"],
        has_job=launch.served,
        reason=str(detail.get("stoppedReason") or detail["stopCode"]),
    )
