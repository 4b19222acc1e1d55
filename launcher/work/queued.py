"""A queued job: recognise its launch, or admit it; then carry it on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from launcher import identity
from launcher.demand.delivery import WAITING, Demand
from launcher.jobs import Unknown
from launcher.record.launch import Launch
from launcher.work import pauses
from launcher.work.carrying import DAY, Answer
from launcher.work.ending import WAITS
from launcher.work.held import hold
from launcher.work.resources import PutOff

if TYPE_CHECKING:
    from launcher.demand.message import Message
    from launcher.work.admission import Admission
    from launcher.work.carrying import Carrier
    from launcher.work.held import Held
    from launcher.work.resources import Resources

log = structlog.get_logger()

SOON = 10.0
"""Seconds until the end of a task is looked for, where an approved job waits for it."""

REDRIVEN = 600.0
"""Seconds that a message takes, at least, until it is in the dead letters."""

HEAD_START = 4.0
"""Seconds that the warm runners of a pool have to take a job, before it gets a task of its own."""


def launch_id(deployment: str, demand: Demand) -> str:
    """Return the id of a job's launch. A repository keeps its number when it is renamed."""
    return identity.launch_id(deployment, str(demand.repository_id), str(demand.job_id))


class Queued:
    """Handles jobs that are queued."""

    def __init__(self, around: Resources, carrier: Carrier, admission: Admission) -> None:
        self._around = around
        self._carrier = carrier
        self._admission = admission

    async def handle(self, demand: Demand, message: Message) -> PutOff | None:
        """Begin the job's launch, or carry it on."""
        id_ = launch_id(self._around.deployment, demand)
        stored = await self._around.records.read(id_)
        message = self._recognise(message, stored)
        if stored is None:
            found = await self._admit(id_, demand, message)
            if not isinstance(found, Launch):
                return found
            stored = found
        elif _is_new(message) and not stored.settled:
            return None  # the message that began it lives until the job is in progress
        elif stored.settled and stored.ended and not waited(stored):
            return None
        async with hold(self._around.records, stored) as held:
            if held is None:
                return PutOff(pauses.HELD, "another worker carries it on")
            if _is_approved(held.launch, demand):
                answer = await self._revive(held, demand, message)
                if answer is not None:
                    return answer.later
            return await self._carrier.carry_on(held, demand, message)

    def _recognise(self, message: Message, launch: Launch | None) -> Message:
        """Recognise the message that began a launch, where it comes back from the dead letters.

        Then it is read as one that was received before: whether its job still waits is looked up.
        """
        old = launch is not None and self._around.now() - launch.first_seen >= REDRIVEN
        return replace(message, received=2) if old and _is_new(message) else message

    async def _revive(self, held: Held, demand: Demand, message: Message) -> Answer | None:
        """Begin a launch anew whose job was approved. None: go on with it."""
        if not held.launch.ended:
            later = await self._carrier.carry_on(held, demand, message)
            seconds = min(later.seconds, SOON) if later else pauses.HELD
            return Answer(PutOff(seconds, "its task of before the approval ends"))
        found = await self._carrier.look_up(demand)
        if not isinstance(found, Unknown) and found.action == WAITING:
            return Answer(None)  # it is another hook's delivery, of before
        anew = held.launch.next_try("its job was approved")
        # Its day in GitHub's queue begins now.
        anew = replace(anew, first_seen=message.first_seen, demand=demand.to_json())
        await held.save(replace(anew, given_up=None, served=False))
        return None

    async def _admit(self, id_: str, demand: Demand, message: Message) -> Launch | PutOff | None:
        """Make the launch of a job that was not seen before."""
        if self._around.now() - message.first_seen > DAY:
            log.warning("demand.expired", job=demand.job_id, repository=demand.repository)
            return None
        chosen = await self._admission.choose(demand)
        if chosen is None or isinstance(chosen, PutOff):
            return chosen
        now = datetime.fromtimestamp(self._around.now(), UTC)
        if message.count == 0 and chosen.minimum_at(now):
            return PutOff(HEAD_START, "a warm runner may take it")
        log.info(
            "launch.admitted",
            launch=id_,
            job=demand.job_id,
            repository=demand.repository,
            pool=chosen.name,
        )
        return Launch(id_, chosen.name, demand.to_json(), message.first_seen)


def _is_new(message: Message) -> bool:
    """Whether a message for a known launch is another one than that which began it."""
    return message.count == 0 and message.received <= 1


def waited(launch: Launch) -> bool:
    """Say whether a launch was given up because its job waits: it is revived by a later message."""
    return launch.given_up == WAITS


def _is_approved(launch: Launch, demand: Demand) -> bool:
    """Whether this is another `queued` than that of before the approval."""
    before = Demand.from_json(launch.demand).delivery
    return waited(launch) and (not before or before != demand.delivery)
