"""Machines of EC2 in the deployed launcher: their pools, and what IAM is asked for them.

Sources: AWS's "Service Authorization Reference" for actions, resources and condition keys.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher import identity
from launcher.places.ec2_request import name_template
from local import aws
from local.ec2 import LaunchTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Asked = tuple[str, str, dict[str, str]]
    """Action, resource, context."""

SHARED = f"arn:aws:ec2:{aws.REGION}::"
"""Of what belongs to no account."""
EC2 = "ec2.amazonaws.com"
PARTS = ("subnet", "network-interface", "security-group", "volume", "key-pair")
"""The parts of a machine besides its image, by its request or by its template."""
TEMPLATE = {
    "ImageId": "ami-0123456789abcdef0",
    "InstanceType": "m7i.large",
    "InstanceInitiatedShutdownBehavior": "terminate",
}
POOLS = """
[[pool]]
name = "machine"
place = "ec2"
labels = ["machine"]
launch_template = "runner"
capacities = ["spot", "on-demand"]

[[pool]]
name = "fleet"
place = "ec2"
labels = ["fleet"]
launch_template = "runner"
instance_types = ["m7i.large", "m6i.large"]
user_data = "template"
"""


@dataclass
class Machines:
    """The launch template, the role that its machines get, and all machines' tags."""

    template: LaunchTemplate = field(default_factory=LaunchTemplate)
    role: str = ""
    account: str = aws.ACCOUNT
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """By the machine's id."""

    @property
    def template_arn(self) -> str:
        """The ARN of the launch template."""
        return self.arn("launch-template", self.template.id)

    def arn(self, kind: str, name: str = "new") -> str:
        """Return the ARN of something of EC2."""
        return f"arn:aws:ec2:{aws.REGION}:{self.account}:{kind}/{name}"

    def translate(self, operation: str, given: Mapping[str, Any]) -> Iterator[Asked]:
        """Yield what IAM is asked for a call of EC2."""
        match operation:
            case "RunInstances" | "CreateFleet":
                yield from self._translate_start(operation, given)
            case "TerminateInstances" | "GetConsoleOutput":
                for machine in given.get("InstanceIds") or [given["InstanceId"]]:
                    tags = _name_tags("ResourceTag", self.tags[machine])
                    yield f"ec2:{operation}", self.arn("instance", machine), tags
            case _:
                yield f"ec2:{operation}", "*", {}

    def _translate_start(self, operation: str, given: Mapping[str, Any]) -> Iterator[Asked]:
        tags = {each["ResourceType"]: each["Tags"] for each in given["TagSpecifications"]}
        requested = {
            kind: _name_tags("RequestTag", {each["Key"]: each["Value"] for each in found})
            for kind, found in tags.items()
        }
        if operation == "CreateFleet":
            assert name_template(given)
            for kind in ("fleet", "instance"):
                yield "ec2:CreateFleet", self.arn(kind), requested[kind]
            for resource in (self.template_arn, self.arn("subnet"), f"{SHARED}image/ami-1"):
                yield "ec2:CreateFleet", resource, {}
        # A fleet starts its machine in the caller's name, and with the caller's rights.
        by = {"ec2:LaunchTemplate": self.template_arn}
        yield "ec2:RunInstances", self.arn("instance"), {**requested["instance"], **by}
        kinds = [*PARTS, *(["spot-instances-request"] if "spot" in json.dumps(given) else [])]
        for resource in (
            self.template_arn,
            f"{SHARED}image/ami-1",
            f"{SHARED}snapshot/snap-1",
            *map(self.arn, kinds),
        ):
            yield "ec2:RunInstances", resource, by
        for kind in tags:
            yield "ec2:CreateTags", self.arn(kind), {"ec2:CreateAction": operation}
        yield "iam:PassRole", self.role, {"iam:PassedToService": EC2}

    def list_others(self, deployment: str) -> list[Asked]:
        """List what must not be allowed: what is another's, and any start in another way."""
        own, other = ({identity.DEPLOYMENT_TAG: each} for each in (deployment, "other"))
        template = {"ec2:LaunchTemplate": self.template_arn}
        another = self.arn("launch-template", "lt-other")
        machine, fleet = self.arn("instance", "i-1"), self.arn("fleet")
        ends = ("ec2:TerminateInstances", "ec2:GetConsoleOutput")
        return [
            ("ec2:RunInstances", another, {"ec2:LaunchTemplate": another}),
            ("ec2:RunInstances", machine, _name_tags("RequestTag", own)),
            ("ec2:RunInstances", machine, template),
            ("ec2:RunInstances", machine, {**template, **_name_tags("RequestTag", other)}),
            (
                "ec2:RunInstances",
                machine,
                {"ec2:LaunchTemplate": another, **_name_tags("RequestTag", own)},
            ),
            ("ec2:CreateFleet", fleet, _name_tags("RequestTag", other)),
            ("ec2:CreateFleet", another, {}),
            ("ec2:CreateTags", machine, {}),
            ("ec2:CreateTags", machine, {"ec2:CreateAction": "CreateVolume"}),
            *((end, machine, _name_tags("ResourceTag", other)) for end in ends),
            *((end, machine, {}) for end in ends),
            (
                "iam:PassRole",
                f"arn:aws:iam::{self.account}:role/admin",
                {"iam:PassedToService": EC2},
            ),
            ("iam:PassRole", self.role, {"iam:PassedToService": "ecs-tasks.amazonaws.com"}),
        ]


def prepare(
    client: Callable[[str], Any], name: str = "runner", account: str = aws.ACCOUNT
) -> Machines:
    """Make a launch template, whose machines get a role by their instance profile."""
    iam = client("iam")
    role = make_role(iam, f"{name}-machines", EC2)
    iam.create_instance_profile(InstanceProfileName=name)
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"{name}-machines")
    data = {**TEMPLATE, "IamInstanceProfile": {"Name": name}}
    made = client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    template = LaunchTemplate(made["LaunchTemplate"]["LaunchTemplateId"], name, data=data)
    return Machines(template, role, account)


def make_role(iam: Any, name: str, service: str) -> str:
    """Make a role that a service gives to what it runs; return its ARN."""
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    return str(made["Role"]["Arn"])


def _name_tags(kind: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Name tags as IAM's context does."""
    return {f"aws:{kind}/{key}": value for key, value in tags.items()}
