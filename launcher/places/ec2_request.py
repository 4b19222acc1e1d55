"""Make the request for one machine: CreateFleet, or RunInstances where a fleet cannot say it all.

A fleet takes every type and subnet at once, and EC2 chooses among them. But it has neither user
data nor security groups nor a shutdown behaviour: these stand in the launch template then.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from launcher import identity

if TYPE_CHECKING:
    from collections.abc import Mapping

SPOT, ON_DEMAND = "spot", "on-demand"
CREATE_FLEET, RUN_INSTANCES = "CreateFleet", "RunInstances"
TERMINATE = "terminate"
METADATA = {
    "HttpEndpoint": "enabled",
    "HttpTokens": "required",
    "HttpPutResponseHopLimit": 1,  # so that no container of a job gets the machine's own role
    "InstanceMetadataTags": "enabled",
}
"""How a machine may ask for its metadata: by IMDSv2 alone, and only itself."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A launch template, and how machines are started from it."""

    launch_template: str
    """Its id or its name."""
    version: str = "$Default"
    capacities: tuple[str, ...] = (ON_DEMAND,)
    """SPOT, ON_DEMAND, in the order in which they are asked."""
    instance_types: tuple[str, ...] = ()
    """In order of preference; empty leaves it to the template, as for all below."""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    image: str | None = None
    instance_profile: str | None = None
    """A name or an ARN."""
    user_data: str | None = None
    """The whole text, without a secret: whatever runs on the machine can read it."""
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def uses_fleet(self) -> bool:
        """Whether a fleet can say all that this does, and has something to choose."""
        says_more = self.user_data is not None or self.security_groups
        return not says_more and len(self._overrides) > 1

    @property
    def _overrides(self) -> tuple[tuple[str | None, str | None], ...]:
        """Return each pair of a type and a subnet, the preferred first."""
        return tuple(product(self.instance_types or (None,), self.subnets or (None,)))

    @property
    def steps(self) -> int:
        """Count the requests that are made in turn: a fleet takes all types and subnets in one."""
        return len(self.capacities) * (1 if self.uses_fleet else len(self._overrides))

    def make_request(
        self,
        token: str,
        started_by: str,  # noqa: ARG002  a machine is found by its tags
        tags: Mapping[str, str],
        step: int,
    ) -> dict[str, Any]:
        """Make the request of a step: the operation and its parameters.

        Nothing in it depends on time or chance, so it can be sent again word for word.
        """
        given = {**tags, identity.CLIENT_TOKEN_TAG: token}
        tagged = [{"Key": key, "Value": value} for key, value in sorted(given.items())]
        step %= self.steps  # a reload may have taken capacities away
        if self.uses_fleet:
            wanted = self._make_fleet(self.capacities[step], tagged)
            return _request(CREATE_FLEET, {"ClientToken": token, **wanted})
        which, override = divmod(step, len(self._overrides))
        wanted = self._make_instance(self.capacities[which], *self._overrides[override])
        wanted["TagSpecifications"] = [{"ResourceType": "instance", "Tags": tagged}]
        return _request(RUN_INSTANCES, {"ClientToken": token, **wanted})

    def _make_fleet(self, capacity: str, tagged: list[dict[str, str]]) -> dict[str, Any]:
        overrides = [
            self._make_override(number, *each) for number, each in enumerate(self._overrides)
        ]
        template = {**name_by_id_or_name(self.launch_template), "Version": self.version}
        return {
            "Type": "instant",
            "LaunchTemplateConfigs": [
                {"LaunchTemplateSpecification": template, "Overrides": overrides}
            ],
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": 1,
                "DefaultTargetCapacityType": capacity,
            },
            "SpotOptions": {
                "AllocationStrategy": "price-capacity-optimized",
                "InstanceInterruptionBehavior": TERMINATE,
            },
            "OnDemandOptions": {"AllocationStrategy": "prioritized"},
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": tagged} for kind in ("fleet", "instance")
            ],
        }

    def _make_override(self, number: int, kind: str | None, subnet: str | None) -> dict[str, Any]:
        override: dict[str, Any] = {"Priority": float(number)}
        given = {"InstanceType": kind, "SubnetId": subnet, "ImageId": self.image}
        override |= {name: value for name, value in given.items() if value is not None}
        if self.instance_profile is not None:
            override["IamInstanceProfile"] = _name_profile(self.instance_profile)
        return override

    def _make_instance(self, capacity: str, kind: str | None, subnet: str | None) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "LaunchTemplate": {**name_by_id_or_name(self.launch_template), "Version": self.version},
            "MinCount": 1,
            "MaxCount": 1,
            "InstanceInitiatedShutdownBehavior": TERMINATE,  # EC2's own default is stop
            "MetadataOptions": METADATA,
        }
        if capacity == SPOT:
            options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": TERMINATE}
            wanted["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        given = {
            "InstanceType": kind,
            "SubnetId": subnet,
            "ImageId": self.image,
            "UserData": self.user_data,  # the library encodes it
            "SecurityGroupIds": list(self.security_groups) or None,
        }
        wanted |= {name: value for name, value in given.items() if value is not None}
        if self.instance_profile is not None:
            wanted["IamInstanceProfile"] = _name_profile(self.instance_profile)
        return wanted


def name_template(wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return which template, in which version, the parameters of CreateFleet name."""
    configs = wanted.get("LaunchTemplateConfigs") or [{}]
    found = configs[0].get("LaunchTemplateSpecification")
    return dict(found) if found else None


def name_by_id_or_name(text: str) -> dict[str, Any]:
    """Name a launch template in a request, by its id or its name."""
    return {"LaunchTemplateId" if text.startswith("lt-") else "LaunchTemplateName": text}


def _request(operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"Operation": operation, "Parameters": parameters}


def _name_profile(text: str) -> dict[str, str]:
    return {"Arn" if text.startswith("arn:") else "Name": text}
