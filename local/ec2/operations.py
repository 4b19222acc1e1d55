"""Answer each operation of the control plane; what starts machines is in `plane`."""

from __future__ import annotations

import base64
import fnmatch
from typing import TYPE_CHECKING, Any

from local.ec2.checks import RefusedError
from local.ec2.machines import CODES, OLD_FAMILIES
from local.ec2.protocol import moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.ec2.machines import Machine
    from local.ec2.plane import ControlPlane

MOST_VALUES = 200
PAGE = 1000


def describe_instances(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Describe machines: by ids, all of which must be there, or by filters."""
    found = [plane.find_machine(each) for each in wanted.get("InstanceIds", [])]
    if "InstanceIds" not in wanted:
        found = plane.list_machines()
    hidden = [each for each in found if each.unseen > 0]
    for each in hidden:
        each.unseen -= 1
    if hidden and "InstanceIds" in wanted:
        code = "InvalidInstanceID.NotFound"
        raise RefusedError(code, f"The instance ID '{hidden[0].id}' does not exist")
    shown = [each for each in found if each not in hidden]
    for condition in wanted.get("Filters", []):
        _check_filter(condition)
        shown = [each for each in shown if _passes(each, condition)]
    begins, most = int(wanted.get("NextToken") or 0), int(wanted.get("MaxResults") or PAGE)
    end = begins + most
    reservations = [
        {
            "ReservationId": f"r-{each.id[2:]}",
            "OwnerId": each.account,
            "Instances": [each.describe()],
        }
        for each in shown[begins:end]
    ]
    more = {"NextToken": str(end)} if end < len(shown) else {}
    return {"Reservations": reservations, **more}


def _check_filter(condition: dict[str, Any]) -> None:
    name = condition["Name"]
    if len(condition["Values"]) > MOST_VALUES:
        raise RefusedError("FilterLimitExceeded", "The maximum number of filter values is 200")
    if not name.startswith("tag:") and name not in _FILTERS:
        raise RefusedError("InvalidParameterValue", f"The filter '{name}' is invalid")


def _passes(machine: Machine, condition: dict[str, Any]) -> bool:
    name = condition["Name"]
    if name.startswith("tag:"):
        own = machine.tags.get(name.removeprefix("tag:"))
    else:
        own = _FILTERS[name](machine)
    return own is not None and any(fnmatch.fnmatchcase(own, each) for each in condition["Values"])


_FILTERS: dict[str, Callable[[Machine], str | None]] = {
    "instance-id": lambda machine: machine.id,
    "instance-state-name": lambda machine: machine.state,
    "client-token": lambda machine: machine.wanted.get("ClientToken"),
}


def terminate_instances(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Terminate machines; those that have ended stay as they are."""
    machines = [plane.find_machine(each) for each in wanted["InstanceIds"]]
    for machine in machines:
        if machine.id in plane.protected:
            message = f"The instance '{machine.id}' may not be terminated."
            raise RefusedError("OperationNotPermitted", message)
    changes = []
    for machine in machines:
        before = machine.state
        machine.end()
        changes.append(
            {
                "InstanceId": machine.id,
                "PreviousState": {"Code": CODES[before], "Name": before},
                "CurrentState": {"Code": CODES[machine.state], "Name": machine.state},
            }
        )
    return {"TerminatingInstances": changes}


def get_console_output(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return a machine's console; while it runs only newer types show it."""
    machine, latest = plane.find_machine(wanted["InstanceId"]), wanted.get("Latest", False)
    if latest and machine.kind.startswith(OLD_FAMILIES):
        message = "This instance type does not support retrieving the latest console logs."
        raise RefusedError("UnsupportedOperation", message)
    text = machine.show_console(latest=latest)
    more = {"Output": base64.b64encode(text.encode()).decode()} if text else {}
    return {"InstanceId": machine.id, "Timestamp": moment(machine.now()), **more}


def describe_template_versions(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Describe the versions that are asked for of one template."""
    found = [plane.find_template({**wanted, "Version": each}) for each in wanted["Versions"]]
    return {"LaunchTemplateVersions": [each.describe() for each in found]}


def create_tags(plane: ControlPlane, wanted: dict[str, Any]) -> dict[str, Any]:
    """Add tags to machines."""
    for each in wanted["Resources"]:
        plane.find_machine(each).tags |= {tag["Key"]: tag["Value"] for tag in wanted["Tags"]}
    return {}


OPERATIONS: dict[str, Callable[[ControlPlane, dict[str, Any]], dict[str, Any]]] = {
    "RunInstances": lambda plane, wanted: plane.run_instances(wanted),
    "CreateFleet": lambda plane, wanted: plane.create_fleet(wanted),
    "DescribeInstances": describe_instances,
    "TerminateInstances": terminate_instances,
    "GetConsoleOutput": get_console_output,
    "DescribeLaunchTemplateVersions": describe_template_versions,
    "CreateTags": create_tags,
}
