"""Make what a launcher's tasks need in an account: a network, and an image in ECR (moto has both).

Each function takes the endpoint as its first argument.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.aws import ACCOUNT, REGION, open_client

if TYPE_CHECKING:
    from collections.abc import Sequence

REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
_NUMBERS = itertools.count(10)


@dataclass(frozen=True)
class Network:
    """The ids of a network of its own, with a subnet whose tasks may reach everything."""

    vpc: str
    subnet: str
    route_table: str
    security_group: str


def make_network(endpoint: str, *, exit_: str = "nat", egress: bool = True) -> Network:
    """Make a network. `exit_`: nat, internet or none; `egress`: whether its group lets out."""
    block = f"10.{next(_NUMBERS) % 250}.0.0"
    with open_client("ec2", endpoint) as ec2:
        vpc = str(ec2.create_vpc(CidrBlock=f"{block}/16")["Vpc"]["VpcId"])
        made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"{block}/24")["Subnet"]
        table = str(ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"])
        subnet = str(made["SubnetId"])
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        if exit_ != "none":
            where = _make_exit(ec2, vpc, subnet, exit_)
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **where)
        given = {"GroupName": "tasks", "Description": "tasks", "VpcId": vpc}
        group = str(ec2.create_security_group(**given)["GroupId"])
        if not egress:
            described = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
            rules = described["IpPermissionsEgress"]
            ec2.revoke_security_group_egress(GroupId=group, IpPermissions=rules)
    return Network(vpc, subnet, table, group)


def _make_exit(ec2: Any, vpc: str, subnet: str, kind: str) -> dict[str, str]:
    if kind == "nat":
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        made = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)
        return {"NatGatewayId": made["NatGateway"]["NatGatewayId"]}
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    return {"GatewayId": gateway}


def push_image(endpoint: str, name: str = "runner", tags: Sequence[str] = ("1",)) -> str:
    """Put an image into a repository of ECR; return its name without a tag."""
    with open_client("ecr", endpoint) as ecr:
        ecr.create_repository(repositoryName=name)
        config = {"digest": f"sha256:{'0' * 64}", "size": 1}
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []}
        for tag in tags:
            ecr.put_image(repositoryName=name, imageManifest=json.dumps(manifest), imageTag=tag)
    return f"{REGISTRY}/{name}"
