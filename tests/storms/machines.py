"""A machine of EC2 in a storm, and what becomes of it: good and bad ends."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tests.storms.calls import loop_time
from tests.storms.clock import EPOCH, start_outside

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Coroutine

SOON, LATEST_BLOW = 20.0, 240.0
"""Seconds after its boot in which something happens to a machine: often before it has its job."""
GOES_DOWN_WITHIN = 30.0
"""Seconds that a machine that shuts down waits for its agent."""
NOTICE = 120.0
"""Seconds between Spot's notice and the end."""
IDLE = (300.0, 600.0)
"""Seconds after which an agent without a network ends by itself."""
LOST_AFTER = 600.0
"""Seconds until GitHub has a job fail whose runner says nothing more."""
LIMIT = 4800.0
"""Seconds after which a machine ends itself whose user data are not the launcher's."""
CRASHED = 15
SHUT_DOWN = "Client.InstanceInitiatedShutdown", "Instance initiated shutdown"
BY_USER = "Client.UserInitiatedShutdown", "User initiated shutdown"
TAKEN = "Server.SpotInstanceTermination", "Spot instance termination"
NO_ROOM = "Server.InsufficientInstanceCapacity", "Insufficient capacity"
_LIMIT = re.compile(r"^LIMIT=(\d+)$", re.MULTILINE)


class Fate(StrEnum):
    """The fate of a machine."""

    GOOD = "good"
    HANG = "hang"
    """Its system starts, and its agent never does."""
    FREEZE = "freeze"
    """It stands still, and its own time limit with it."""
    OFFLINE = "offline"
    """It loses its network."""
    CRASH = "crash"
    """Its agent ends with a fault."""
    SILENT = "silent"
    """It ends, and says nothing on its console."""
    HALT = "halt"
    """Somebody stops it from AWS's console."""
    SPOT = "spot"
    """Spot takes it, after a notice."""
    NO_ROOM = "no-room"
    """It ends before it runs, though the answer was good."""


BAD_ENDS = tuple(fate for fate in Fate if fate is not Fate.GOOD)


@dataclass
class Machine:
    """One machine."""

    id: str
    request: dict[str, Any]
    """The parameters of RunInstances, or what a fleet makes of its own."""
    capacity: str
    began: float
    known: float
    """From when on DescribeInstances knows it."""
    forgotten: float
    """Seconds after its end from which on it does not."""
    fate: Fate
    state: str = "pending"
    reason: tuple[str, str] | None = None
    ended: float | None = None
    console: str = ""
    runner: str | None = None
    """The name of its agent's runner, once it has one."""
    asked_to_stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Its agent is told to stop."""
    off: asyncio.Event = field(default_factory=asyncio.Event)
    """It is to end for good."""

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        given = self.request["TagSpecifications"]
        return {tag["Key"]: tag["Value"] for each in given for tag in each["Tags"]}

    @property
    def status(self) -> str:
        """STOPPED once it has ended, as of a task."""
        return "STOPPED" if self.state == "terminated" else self.state.upper()

    @property
    def living(self) -> bool:
        """Return whether it lives, and is not about to end."""
        return self.state in ("pending", "running")

    @property
    def limit(self) -> float:
        """Seconds after which it ends itself."""
        found = _LIMIT.search(self.request.get("UserData", ""))
        return float(found[1]) if found else LIMIT

    def is_known(self, now: float) -> bool:
        """Return whether DescribeInstances knows it."""
        return now >= self.known and (self.ended is None or now - self.ended <= self.forgotten)

    def shut(self, reason: tuple[str, str]) -> None:
        """Let it end for good; the first reason counts."""
        self.reason = self.reason or reason
        self.off.set()

    def describe(self) -> dict[str, Any]:
        """Describe it as DescribeInstances does."""
        found: dict[str, Any] = {
            "InstanceId": self.id,
            "LaunchTime": datetime.fromtimestamp(EPOCH + self.began, UTC),
            "State": {"Name": self.state},
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }
        if self.reason is not None:
            code, text = self.reason
            found["StateReason"] = {"Code": code, "Message": f"{code}: {text}"}
        return found


@dataclass
class Lives:
    """The lives of machines."""

    chance: random.Random
    live: Callable[[Machine], Coroutine[Any, Any, int | None]]
    """The agent's life; returns its exit code."""
    lose: Callable[[Machine, float], Coroutine[Any, Any, None]]
    """The agent dies without a word; after so many seconds GitHub has its job fail."""
    changed: Callable[[Machine], None]
    warned: Callable[[Machine], None]
    """Called at each change of its state, and where Spot gives notice."""

    async def run(self, machine: Machine) -> None:
        """Live from the start to the end."""
        self.changed(machine)
        await self._first(machine.off.wait(), self.chance.uniform(5, 40))
        if machine.fate is Fate.NO_ROOM:
            machine.shut(NO_ROOM)
        if not machine.off.is_set():
            self._enter(machine, "running")
            await self._run(machine)
        if machine.state != "shutting-down":
            self._enter(machine, "shutting-down")
        slow = machine.fate is Fate.FREEZE
        await asyncio.sleep(self.chance.uniform(60, 300) if slow else self.chance.uniform(1, 20))
        machine.ended = loop_time()
        self._enter(machine, "terminated")

    async def _run(self, machine: Machine) -> None:
        agent = start_outside(self._run_agent(machine))
        blow = self.chance.uniform(0, self.chance.choice((SOON, LATEST_BLOW)))
        if machine.fate is Fate.GOOD or await self._is_over(machine, agent, blow):
            await self._is_over(machine, agent, machine.limit)
        else:
            await self._befall(machine, agent)
        machine.shut(SHUT_DOWN)
        await self._end_agent(machine, agent)

    async def _run_agent(self, machine: Machine) -> None:
        await asyncio.sleep(self.chance.uniform(1, 10))
        if machine.fate is Fate.HANG:
            await machine.asked_to_stop.wait()
            return
        code = CRASHED if machine.fate is Fate.CRASH else await self.live(machine)
        machine.console += f"runner-machine: the agent has ended with exit code {code}\r\n"

    async def _befall(self, machine: Machine, agent: asyncio.Task[None]) -> None:
        """Let happen what its fate is."""
        match machine.fate:
            case Fate.FREEZE:
                self._cut(machine, agent, LOST_AFTER)
                await machine.off.wait()
            case Fate.OFFLINE:
                self._cut(machine, agent, LOST_AFTER)
                await self._first(machine.off.wait(), self.chance.uniform(*IDLE))
            case Fate.SILENT:
                self._cut(machine, agent, 0.0)
            case Fate.HALT:
                self._enter(machine, "stopping")
                await self._end_agent(machine, agent)
                self._enter(machine, "stopped")
                await machine.off.wait()
            case Fate.SPOT:
                self.warned(machine)
                machine.asked_to_stop.set()
                await self._is_over(machine, agent, NOTICE)
                machine.shut(TAKEN)
            case _:
                await self._is_over(machine, agent, machine.limit)

    def _enter(self, machine: Machine, state: str) -> None:
        if machine.state == "shutting-down" and state != "terminated":
            return
        machine.state = state
        self.changed(machine)

    async def _end_agent(self, machine: Machine, agent: asyncio.Task[None]) -> None:
        """Stop the agent; without it the machine goes down after a while all the same."""
        machine.asked_to_stop.set()
        if not agent.done():
            await asyncio.wait({agent}, timeout=GOES_DOWN_WITHIN)
        if not agent.done():
            self._cut(machine, agent, 0.0)

    def _cut(self, machine: Machine, agent: asyncio.Task[None], lost_after: float) -> None:
        agent.cancel()
        start_outside(self.lose(machine, lost_after))

    async def _is_over(self, machine: Machine, agent: asyncio.Task[None], seconds: float) -> bool:
        """Wait for the end of the agent, or of the machine; False where neither comes in time."""
        await self._first(asyncio.wait({agent}), seconds, machine.off.wait())
        return agent.done() or machine.off.is_set()

    async def _first(self, one: Awaitable[Any], seconds: float, *more: Awaitable[Any]) -> None:
        waits = [asyncio.ensure_future(each) for each in (one, *more)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
