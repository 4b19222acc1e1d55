"""The control plane: what there is, RunInstances and CreateFleet, and how machines live."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local import agent, aws
from local.calls import find_calls
from local.ec2.checks import (
    RefusedError,
    check_fleet,
    check_instance,
    check_token,
    read_tags,
)
from local.ec2.droughts import TEXTS
from local.ec2.events import Teller
from local.ec2.machines import SHUT_DOWN, LaunchTemplate, Machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.ec2.droughts import Drought
    from local.ec2.machines import Program
    from local.telling import Tell


_SHOWN = ("InstanceType", "SubnetId", "ImageId", "Priority")
"""What a fleet's answer says of an override."""


@dataclass
class Remembered:
    """The answer that a client token gives again."""

    wanted: dict[str, Any]
    answer: dict[str, Any]
    machines: list[Machine]


class ControlPlane:
    """EC2 as its owner sees it."""

    def __init__(
        self, program: Program, now: Callable[[], float], tell: Tell | None = None
    ) -> None:
        self.url = ""
        self.templates = [LaunchTemplate()]
        self.subnets = {f"subnet-0000000{letter}": f"{aws.REGION}{letter}" for letter in "abc"}
        """The zone of each subnet."""
        self.machines: list[Machine] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """What was asked, oldest first: operation and arguments."""
        self.droughts: list[Drought] = []
        self.throttles: dict[str, int] = {}
        """How many more calls of an operation are throttled."""
        self.most_spot: int | None = None
        """Spot machines that may live at once; None: any number."""
        self.most_of_family: dict[str, int] = {}
        """Machines on demand that may live at once, by the first letter of their types."""
        self.unseen = 0
        """How many looks do not find a new machine yet."""
        self.failing_starts: list[tuple[str, str]] = []
        """Why the next machines end seconds after a good answer."""
        self.protected: set[str] = set()
        """Machines that may not be terminated by a call."""
        self.events = Teller(tell)
        self.find_account: Callable[[str], str] = lambda _key: aws.ACCOUNT
        """Returns the account of an access key."""
        self.account = aws.ACCOUNT
        """The account whose request is answered now: it sees its own machines alone."""
        self._program = program
        self._now = now
        self._tokens: dict[tuple[str, str, str], Remembered] = {}
        self._changed = asyncio.Condition()
        self._rung = asyncio.Event()

    async def wait_for(self, look: Callable[[], Any], seconds: float = agent.PATIENCE) -> Any:
        """Wait until `look` finds something; it looks at each request and change of a machine."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(look), seconds)
        return look()

    def asked(self, operation: str, *, once: bool = False) -> list[dict[str, Any]]:
        """Return the arguments of each call of `operation` (`local.calls.find_calls`)."""
        return find_calls(self.requests, operation, once=once)

    def living(self) -> list[Machine]:
        """Return the machines that are not terminated."""
        return [machine for machine in self.machines if machine.lives]

    # -- RunInstances ------------------------------------------------------------------------

    def run_instances(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Start one machine, unless the client token says that this was done already."""
        token = check_token(wanted)
        if (wanted.get("MinCount"), wanted.get("MaxCount")) != (1, 1):
            raise RefusedError("InvalidParameterValue", "this stand-in starts one machine a call")
        merged = self._merge_template(wanted)
        zone = self.find_zone(merged)
        # A token belongs to the zone that the request names; without one, to the region.
        key = f"{self.account} RunInstances", zone or "", token or ""
        if token is not None and (known := self._find_known(key, wanted)) is not None:
            if not known.machines[0].lives:
                raise RefusedError(
                    "IdempotentInstanceTerminated",
                    "The request cannot be completed because the instances launched by the "
                    "original request have been terminated.",
                )
            return known.answer
        spot = wanted.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        zones = [zone] if zone else sorted(set(self.subnets.values()))
        machine = self._start("spot" if spot else "on-demand", merged, zones)
        answer = {
            "ReservationId": f"r-{machine.id[2:]}",
            "OwnerId": self.account,
            "Instances": [machine.describe()],
        }
        self._tokens[key] = Remembered(copy.deepcopy(wanted), answer, [machine])
        return answer

    def _find_known(self, key: tuple[str, str, str], wanted: dict[str, Any]) -> Remembered | None:
        known = self._tokens.get(key)
        if known is not None and known.wanted != wanted:
            raise RefusedError(
                "IdempotentParameterMismatch",
                "The client token has already been used with a different set of parameters.",
            )
        return known

    # -- CreateFleet -------------------------------------------------------------------------

    def create_fleet(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Start one machine from one of the overrides, in their order; or say why from none."""
        token = check_token(wanted)
        check_fleet(wanted)
        key = f"{self.account} CreateFleet", "", token or ""
        if token is not None and (known := self._find_known(key, wanted)) is not None:
            return known.answer
        capacity = wanted["TargetCapacitySpecification"]["DefaultTargetCapacityType"]
        errors, groups, machines = [], [], []
        for specification, override in _list_overrides(wanted):
            shown = {key: value for key, value in override.items() if key in _SHOWN}
            used = {"LaunchTemplateSpecification": specification, "Overrides": shown}
            common = {"LaunchTemplateAndOverrides": used, "Lifecycle": capacity}
            own = {key: value for key, value in override.items() if key != "Priority"}
            tags = {"TagSpecifications": wanted.get("TagSpecifications", [])}
            merged = self._merge_template({"LaunchTemplate": specification, **own, **tags})
            zone = self.find_zone(merged)
            zones = [zone] if zone else sorted(set(self.subnets.values()))
            try:
                machines = [self._start(capacity, merged, zones)]
            except RefusedError as error:
                errors.append({**common, "ErrorCode": error.code, "ErrorMessage": str(error)})
                continue
            group = {"InstanceIds": [machines[0].id], "InstanceType": machines[0].kind}
            groups.append({**common, **group})
            break
        answer = {
            "FleetId": f"fleet-{len(self.requests):017x}",
            "Errors": errors,
            "Instances": groups,
        }
        if token is not None:
            self._tokens[key] = Remembered(copy.deepcopy(wanted), answer, machines)
        return answer

    # -- a machine ---------------------------------------------------------------------------

    def _start(self, capacity: str, merged: dict[str, Any], zones: list[str]) -> Machine:
        """Start a machine in the first of the zones that has room. Raises RefusedError."""
        check_instance(merged)
        kind = merged["InstanceType"]
        self._check_quota(capacity, kind)
        for number, zone in enumerate(zones, 1):
            drought = next((d for d in self.droughts if d.concerns(capacity, kind, zone)), None)
            if drought is None:
                break
            if number == len(zones):
                raise RefusedError(drought.code, drought.text)
        machine = Machine(merged, capacity, zone, self._now, self._note, self.account)
        machine.unseen = self.unseen
        self.machines.append(machine)
        machine.story = asyncio.get_running_loop().create_task(self._live(machine))
        return machine

    def _check_quota(self, capacity: str, kind: str) -> None:
        living = [machine for machine in self.living() if machine.capacity == capacity]
        if capacity == "spot":
            if self.most_spot is not None and len(living) >= self.most_spot:
                code = "MaxSpotInstanceCountExceeded"
                raise RefusedError(code, TEXTS[code])
            return
        family = [machine for machine in living if machine.kind[0] == kind[0]]
        if len(family) >= self.most_of_family.get(kind[0], len(family) + 1):
            raise RefusedError("VcpuLimitExceeded", TEXTS["VcpuLimitExceeded"])

    async def _live(self, machine: Machine) -> None:
        try:
            await self._live_until_end(machine)
        finally:
            for_good = machine.state == "shutting-down" or machine.behaviour == "terminate"
            machine.enter("terminated" if for_good else "stopped", SHUT_DOWN)

    async def _live_until_end(self, machine: Machine) -> None:
        if self.failing_starts:
            machine.enter("shutting-down", self.failing_starts.pop(0))
            return
        machine.enter("running")
        running = asyncio.ensure_future(self._program(machine))
        ending = asyncio.create_task(machine.ends.wait())
        try:
            await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (running, ending):
                each.cancel()
            results = await asyncio.gather(running, ending, return_exceptions=True)
        crash = results[0]
        if isinstance(crash, Exception):
            machine.say(f"local: the program of this machine crashed: {crash!r}")

    def _note(self, machine: Machine) -> None:
        self.events.note_state(machine)
        self._rung.set()

    async def ring(self) -> None:
        """Wake who waits for a request, or for a change of a machine."""
        async with self._changed:
            self._changed.notify_all()

    async def watch(self) -> None:
        """Tell of changes, and wake who waits for them; until cancelled."""

        async def ring_when_noted() -> None:
            while True:
                await self._rung.wait()
                self._rung.clear()
                await self.ring()

        async with asyncio.TaskGroup() as group:
            group.create_task(ring_when_noted())
            group.create_task(self.events.run())

    # -- what is asked for -------------------------------------------------------------------

    def _merge_template(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Put explicit parameters over the template's; tags are added up."""
        named = wanted.get("LaunchTemplate")
        if named is None:
            return copy.deepcopy(wanted)
        data = copy.deepcopy(dict(self.find_template(named).data))
        own = {key: value for key, value in wanted.items() if key != "LaunchTemplate"}
        tags = {**read_tags(data), **read_tags(wanted)}
        merged = data | copy.deepcopy(own)
        merged["TagSpecifications"] = [
            {
                "ResourceType": "instance",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        ]
        return merged

    def find_template(self, named: dict[str, Any]) -> LaunchTemplate:
        """Find the template of a specification. Raises RefusedError."""
        found = [each for each in self.templates if each.is_named(named)]
        if not found:
            code = "InvalidLaunchTemplateId.NotFound"
            if "LaunchTemplateName" in named:
                code = "InvalidLaunchTemplateName.NotFoundException"
            raise RefusedError(code, "The specified launch template does not exist.")
        wanted = str(named.get("Version", "$Default"))
        right = [each for each in found if each.has_version(wanted)]
        if not right:
            code = "InvalidLaunchTemplateId.VersionNotFound"
            raise RefusedError(code, f"Could not find the specified version {wanted}")
        return max(right, key=lambda each: each.version)

    def find_zone(self, merged: dict[str, Any]) -> str | None:
        """Return the zone of the subnet that a request names. Raises RefusedError."""
        subnet = merged.get("SubnetId")
        if subnet is None:
            zone = merged.get("Placement", {}).get("AvailabilityZone")
            return str(zone) if zone else None
        if subnet not in self.subnets:
            message = f"The subnet ID '{subnet}' does not exist"
            raise RefusedError("InvalidSubnetID.NotFound", message)
        return self.subnets[subnet]

    def list_machines(self) -> list[Machine]:
        """List the machines of the account that asks."""
        return [each for each in self.machines if each.account == self.account]

    def find_machine(self, wanted: str) -> Machine:
        """Find a machine by its id. Raises RefusedError."""
        found = next((each for each in self.list_machines() if each.id == wanted), None)
        if found is None:
            message = f"The instance ID '{wanted}' does not exist"
            raise RefusedError("InvalidInstanceID.NotFound", message)
        return found


def _list_overrides(wanted: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    pairs = [
        (config["LaunchTemplateSpecification"], override)
        for config in wanted["LaunchTemplateConfigs"]
        for override in config["Overrides"]
    ]
    return sorted(pairs, key=lambda pair: pair[1].get("Priority", 0.0))
