"""EC2 as the launcher uses it: client tokens of a zone, droughts, quotas, events that get lost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.storms.calls import Service, loop_time, refusal
from tests.storms.clock import start_outside
from tests.storms.machines import BAD_ENDS, BY_USER, Fate, Lives, Machine

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from tests.storms.calls import Weather
    from tests.storms.plan import MachineDrought

LATE = 5.0
"""Seconds for which a new machine may not be known, at most."""
FORGOTTEN = (30.0, 3600.0)
"""Seconds after its end from which on a machine is not known any more."""
STATE_CHANGE = "EC2 Instance State-change Notification"
INTERRUPTION = "EC2 Spot Instance Interruption Warning"


@dataclass
class _Remembered:
    wanted: str
    answer: dict[str, Any]
    machine: Machine | None


class Ec2(Service):
    """The control plane; `live` is the agent's life on a machine, and returns its exit code."""

    name = "ec2"

    def __init__(self, weather: Weather) -> None:
        self.machines: dict[str, Machine] = {}
        self.live: Callable[[Any], Coroutine[Any, Any, int | None]]
        self.lose: Callable[[Any, float], Coroutine[Any, Any, None]]
        """The agent of a machine is cut off; GitHub notices it after so many seconds."""
        self.send_event: Callable[[str, float], None] = lambda *_: None
        self.started: Callable[[Machine], None] = lambda _: None
        self.droughts: tuple[MachineDrought, ...] = ()
        self.bad_ends = self.lost_events = 0.0
        self.fates = BAD_ENDS
        """The bad ends that there are."""
        self.forgotten = FORGOTTEN
        self.used_tokens = 0
        """The number of times that a client token came again whose machine had ended."""
        super().__init__(weather)
        self._memory: dict[tuple[str, str, str], _Remembered] = {}
        self._stories: set[asyncio.Task[None]] = set()

    # -- as its clients see it ---------------------------------------------------------------

    async def run_instances(self, **given: Any) -> dict[str, Any]:
        """Start a machine, unless the client token says that this was done already."""
        return await self._call("RunInstances", lambda: self._run(given))

    async def create_fleet(self, **given: Any) -> dict[str, Any]:
        """Start a machine from one of the overrides, or say why from none."""
        return await self._call("CreateFleet", lambda: self._run_fleet(given))

    async def describe_instances(self, **given: Any) -> dict[str, Any]:
        """Describe the machines that pass all filters."""

        def act() -> dict[str, Any]:
            shown = [each for each in self.machines.values() if each.is_known(loop_time())]
            for condition in given["Filters"]:
                shown = [each for each in shown if _passes(each, condition)]
            return {"Reservations": [{"Instances": [each.describe() for each in shown]}]}

        return await self._call("DescribeInstances", act)

    async def terminate_instances(self, **given: Any) -> dict[str, Any]:
        """End machines."""

        def act() -> dict[str, Any]:
            for each in given["InstanceIds"]:
                machine = self._find(each, "TerminateInstances")
                if machine.state not in ("shutting-down", "terminated"):
                    self._weather.note(f"machine {machine.id[:8]} is terminated")
                    machine.state = "shutting-down"
                    machine.shut(BY_USER)
                    self._change(machine)
            return {"TerminatingInstances": []}

        return await self._call("TerminateInstances", act)

    async def get_console_output(self, **given: Any) -> dict[str, Any]:
        """Return what a machine has written on its console."""

        def act() -> dict[str, Any]:
            machine = self._find(given["InstanceId"], "GetConsoleOutput")
            return {"InstanceId": machine.id, "Output": machine.console}

        return await self._call("GetConsoleOutput", act)

    async def describe_launch_template_versions(self, **given: Any) -> dict[str, Any]:
        """Describe the launch template: its machines end when they shut down."""
        data = {"InstanceInitiatedShutdownBehavior": "terminate"}
        version = {"LaunchTemplateName": given["LaunchTemplateName"], "LaunchTemplateData": data}
        return await self._call(
            "DescribeLaunchTemplateVersions", lambda: {"LaunchTemplateVersions": [version]}
        )

    # -- machines ----------------------------------------------------------------------------

    def _run(self, given: dict[str, Any]) -> dict[str, Any]:
        # A token belongs to the zone that the request names.
        key = "RunInstances", str(given.get("SubnetId")), given["ClientToken"]
        if (known := self._recall(key, given, "RunInstances")) is not None:
            machine = known.machine
            if machine is None or machine.state in ("shutting-down", "terminated"):
                self.used_tokens += 1
                raise refusal("IdempotentInstanceTerminated", "RunInstances")
            return known.answer
        spot = given.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        capacity = "spot" if spot else "on-demand"
        if (code := self._find_drought(capacity, given.get("InstanceType"))) is not None:
            raise refusal(code, "RunInstances")
        machine = self._start(given, capacity)
        answer = {"Instances": [machine.describe()]}
        self._memory[key] = _Remembered(_text(given), answer, machine)
        return answer

    def _run_fleet(self, given: dict[str, Any]) -> dict[str, Any]:
        key = "CreateFleet", "", given["ClientToken"]
        if (known := self._recall(key, given, "CreateFleet")) is not None:
            return known.answer
        capacity = given["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
        errors: list[dict[str, str]] = []
        machine = None
        for override in given["LaunchTemplateConfigs"][0]["Overrides"]:
            code = self._find_drought(capacity, override.get("InstanceType"))
            if code is None:
                wanted = {**override, "TagSpecifications": given["TagSpecifications"][-1:]}
                machine = self._start(wanted, capacity)
                break
            errors.append({"ErrorCode": code, "ErrorMessage": code})
        found = [{"InstanceIds": [machine.id]}] if machine else []
        answer = {"FleetId": f"fleet-{len(self._memory)}", "Errors": errors, "Instances": found}
        self._memory[key] = _Remembered(_text(given), answer, machine)
        return answer

    def _recall(
        self, key: tuple[str, str, str], given: dict[str, Any], operation: str
    ) -> _Remembered | None:
        known = self._memory.get(key)
        if known is not None and known.wanted != _text(given):
            raise refusal("IdempotentParameterMismatch", operation)
        if known is not None:
            self._weather.note(f"{operation} again")
        return known

    def _find_drought(self, capacity: str, kind: str | None) -> str | None:
        now = loop_time()
        for drought in self.droughts:
            concerned = drought.capacity in (None, capacity) and drought.kind in (None, kind)
            if concerned and drought.begin <= now < drought.end:
                self._weather.note(f"{drought.code}: {capacity} {kind}")
                return drought.code
        return None

    def _start(self, wanted: dict[str, Any], capacity: str) -> Machine:
        chance, now = self._weather.chance, loop_time()
        machine = Machine(
            f"i-{chance.getrandbits(68):017x}",
            dict(wanted),
            capacity,
            now,
            now + chance.choice((0.0, 0.0, chance.uniform(0, LATE))),
            chance.uniform(*self.forgotten),
            self._draw_fate(capacity),
        )
        self.machines[machine.id] = machine
        tags = sorted(machine.tags.values())
        self._weather.note(f"machine {machine.id[:8]} begins: {machine.fate} {capacity} {tags}")
        self.started(machine)
        lives = Lives(chance, self.live, self.lose, self._change, self._warn)
        story = start_outside(lives.run(machine))
        self._stories.add(story)
        story.add_done_callback(self._stories.discard)
        return machine

    def _draw_fate(self, capacity: str) -> Fate:
        chance = self._weather.chance
        if loop_time() >= self._weather.calm or chance.random() >= self.bad_ends:
            return Fate.GOOD
        fate = chance.choice(self.fates)
        return Fate.GOOD if fate is Fate.SPOT and capacity != "spot" else fate

    def _find(self, wanted: str, operation: str) -> Machine:
        machine = self.machines.get(wanted)
        if machine is None or not machine.is_known(loop_time()):
            raise refusal("InvalidInstanceID.NotFound", operation)
        return machine

    # -- events ------------------------------------------------------------------------------

    def _change(self, machine: Machine) -> None:
        self._weather.note(f"machine {machine.id[:8]} is {machine.state}")
        self._event(machine, STATE_CHANGE, {"state": machine.state})

    def _warn(self, machine: Machine) -> None:
        self._weather.note(f"machine {machine.id[:8]} is taken by Spot soon")
        self._event(machine, INTERRUPTION, {"instance-action": "terminate"})

    def _event(self, machine: Machine, kind: str, detail: dict[str, str]) -> None:
        """Tell of a machine, with best effort: not always, and now and then twice."""
        chance = self._weather.chance
        if chance.random() < self.lost_events:
            return
        event = {
            "version": "0",
            "id": f"{machine.id}-{chance.getrandbits(32):08x}",
            "detail-type": kind,
            "source": "aws.ec2",
            "region": "eu-central-1",
            "detail": {"instance-id": machine.id, **detail},
        }
        for _ in range(2 if chance.random() < 0.05 else 1):
            self.send_event(json.dumps(event), chance.uniform(0.2, 4.0))


def _text(given: dict[str, Any]) -> str:
    return json.dumps(given, sort_keys=True)


def _passes(machine: Machine, condition: dict[str, Any]) -> bool:
    name = condition["Name"]
    known = {"instance-id": machine.id, "instance-state-name": machine.state}
    own = known[name] if name in known else machine.tags.get(name.removeprefix("tag:"))
    return own in condition["Values"]
