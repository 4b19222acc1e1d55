"""Say what each answer of EC2 means: started, later (and why), refused; and how a machine is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from launcher.places import Later, Placement, Refused, Started, TaskState, Why
from sidecar.aws.calls import explain_denial

if TYPE_CHECKING:
    from collections.abc import Mapping

START = "cannot start a machine"
CAPACITY = {
    "InsufficientInstanceCapacity",
    "InsufficientCapacity",
    "InsufficientCapacityException",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientVolumeCapacity",
    "InsufficientAddressCapacity",
    "InsufficientFreeAddressesInSubnet",
    "UnfulfillableCapacity",
    "SpotMaxPriceTooLow",
    "Unsupported",  # this type is not offered in this zone
    "IdempotentInstanceTerminated",  # an earlier one of this request has ended: a new token is due
}
"""There is no room now, in this capacity, type or subnet."""
QUOTA = {
    "MaxSpotInstanceCountExceeded",
    "MaxSpotFleetRequestCountExceeded",
    "SpotInstanceCountLimitExceeded",
    "VcpuLimitExceeded",
    "InstanceLimitExceeded",
    "VolumeLimitExceeded",
    "MaxIOPSLimitExceeded",
    "NetworkInterfaceLimitExceeded",
    "AddressLimitExceeded",
    "ResourceLimitExceeded",
    "ResourceCountExceeded",
}
"""A quota of the account. Spot has its own, and so has each family of types."""
THROTTLE = {
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "EC2ThrottledException",
    "Throttling",
    "ThrottlingException",
}
SETTINGS = {
    "InvalidLaunchTemplateId.NotFound": "there is no such launch template (launch_template)",
    "InvalidLaunchTemplateId.Malformed": "that is no id of a launch template (launch_template)",
    "InvalidLaunchTemplateId.VersionNotFound": (
        "the launch template has no such version (launch_template_version)"
    ),
    "InvalidLaunchTemplateName.NotFoundException": (
        "there is no launch template of that name (launch_template)"
    ),
    "InvalidLaunchTemplateName.MalformedException": (
        "that is no name of a launch template (launch_template)"
    ),
    "InvalidAMIID.NotFound": "there is no such image in this region (image)",
    "InvalidAMIID.Malformed": "that is no id of an image (image)",
    "InvalidAMIID.Unavailable": "the image cannot be used (image)",
    "InvalidSubnetID.NotFound": "there is no such subnet (subnets)",
    "InvalidSubnet": "the subnet cannot be used (subnets)",
    "InvalidGroup.NotFound": "there is no such security group in the VPC (security_groups)",
    "InvalidInstanceType": "EC2 does not know the type (instance_types)",
    "OptInRequired": "the account is not signed up for EC2, or for the image's product",
    "PendingVerification": "AWS still verifies the account in this region",
    "Blocked": "AWS has blocked the account: ask AWS's support",
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": (
        "the service-linked role of Spot does not exist, and may not be made "
        "(needs iam:CreateServiceLinkedRole once)"
    ),
}
"""Refusals that mean one thing only, with the pool's key to change."""
NAMED = (
    (re.compile(r"IAM Instance Profile|iamInstanceProfile", re.IGNORECASE), "instance_profile"),
    (re.compile(r"instance ?type", re.IGNORECASE), "instance_types"),
    (re.compile(r"user ?data", re.IGNORECASE), "user_data"),
    (re.compile(r"network interface", re.IGNORECASE), "subnets, security_groups"),
    (re.compile(r"tag key", re.IGNORECASE), "tags"),
)
"""Whose key is meant by the words of an InvalidParameterValue and its like."""
DENIED = {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}
_PERMISSION = re.compile(r"not authorized to perform:? ([a-z0-9-]+:\w+)")
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)
NO_ROOM = re.compile(
    r"Server\.(InsufficientInstanceCapacity|SpotInstanceTermination|SpotInstanceShutdown"
    r"|ScheduledStop|InternalError)|Client\.(VolumeLimitExceeded)"
)
"""How an end reads that is no fault of the machine's own."""
STATUS = {
    "pending": "PENDING",
    "running": "RUNNING",
    "stopping": "DEPROVISIONING",
    "stopped": "DEPROVISIONING",  # it never runs again: whoever sees it ends it
    "shutting-down": "DEPROVISIONING",
    "terminated": "STOPPED",
}
"""EC2's words for a machine's state, by what they are called for tasks."""
HALTED = ("stopping", "stopped")


def read_fleet(answer: Mapping[str, Any]) -> Placement:
    """Read the answer of CreateFleet: a machine, or the errors of its types and subnets."""
    for group in answer.get("Instances", []):
        if group.get("InstanceIds"):
            return Started(group["InstanceIds"][0])
    errors = answer.get("Errors", [])
    found = [
        translate_error(
            str(each.get("ErrorCode", "")), str(each.get("ErrorMessage", "")), "ec2:RunInstances"
        )
        for each in errors
    ]
    reasons = list(dict.fromkeys(_shorten(each) for each in errors))
    text = f"{START}: {'; '.join(reasons[:3]) or 'EC2 gives no reason'}"
    laters = [each for each in found if isinstance(each, Later)]
    if laters and all(each.why is Why.QUOTA for each in laters):
        return Later(Why.QUOTA, text, elsewhere=True)
    if laters or not errors:
        # A throttle inside of a fleet is no throttle: the fleet's answer stays, the token is used.
        return Later(Why.CAPACITY, text)
    return next((each for each in found if each is not None), Refused(f"{text} (launch_template)"))


def translate_error(code: str, text: str, permission: str) -> Placement | None:
    """Say what an error means for a start; None leaves it to what all calls have in common.

    `permission` is what the call needs; EC2's own text may name another one.
    """
    shown = f"{START}: {code}: {_tidy(text)}"
    if code in CAPACITY:
        return Later(Why.CAPACITY, shown)
    if code in QUOTA:
        return Later(Why.QUOTA, shown, elsewhere=True)
    if code in THROTTLE:
        return Later(Why.THROTTLE, shown)
    if code in SETTINGS:
        return Refused(f"{START}: {SETTINGS[code]}")
    if code in DENIED:
        denied = _PERMISSION.search(text)
        needed = denied[1] if denied else permission
        return Refused(f"{START}: {explain_denial(text)} (needs {needed})")
    if code.startswith(("Invalid", "Missing", "Unknown")):
        named = next((key for words, key in NAMED if words.search(text)), "launch_template")
        return Refused(f"{shown} ({named})")
    return None


def lacks_room(reason: str) -> bool:
    """Say whether a machine ended because there was no room for it, though it was started."""
    return bool(NO_ROOM.search(reason))


def read_state(instance: Mapping[str, Any]) -> TaskState:
    """Read a machine as DescribeInstances shows it; it has no exit code."""
    name = instance["State"]["Name"]
    why = instance.get("StateReason", {})
    reason = ": ".join(part for part in (why.get("Code"), why.get("Message")) if part)
    if reason.startswith(f"{why.get('Code')}: {why.get('Code')}: "):  # EC2 repeats itself
        reason = why["Message"]
    return TaskState(
        instance["InstanceId"],
        STATUS.get(name, "DEPROVISIONING"),
        name not in ("pending", "running"),
        None,
        reason or instance.get("StateTransitionReason", ""),
    )


def _shorten(error: Mapping[str, Any]) -> str:
    return f"{error.get('ErrorCode')}: {_tidy(str(error.get('ErrorMessage', '')))}"


def _tidy(text: str) -> str:
    return _ENCODED.sub("", text)[:300]
