"""Check the tasks' network: a way out of their subnets, and security groups that let it be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.doctor.account import explain_unseen
from launcher.places.ec2 import EC2
from sidecar.aws.calls import AwsError
from sidecar.examination.finding import Finding, failed, ok, warning

if TYPE_CHECKING:
    from launcher.doctor.setup import Setup
    from launcher.doctor.target import Target

ANYWHERE = ("0.0.0.0/0", "::/0")
HTTPS = 443
PROXIES = ("HTTPS_PROXY", "https_proxy")
EXITS = (
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "InstanceId",
    "NetworkInterfaceId",
    "EgressOnlyInternetGatewayId",
    "VpcPeeringConnectionId",
    "LocalGatewayId",
    "CoreNetworkArn",
)
"""The keys of a route that name where it leads."""
BY_HAND = "look at the subnets' route tables and the security groups in the console"


async def check(setup: Setup) -> list[Finding]:
    """Look at the subnets and security groups of each pool."""
    found = []
    for target in await setup.list_targets():
        if not target.network.subnets:
            continue
        try:
            found += await _check(setup, target)
        except AwsError as error:
            found.append(explain_unseen(error, BY_HAND))
    return found


async def _check(setup: Setup, target: Target) -> list[Finding]:
    subnets: list[dict[str, Any]] = []
    for name in target.network.subnets:
        answer = await setup.account.ask(EC2, "describe_subnets", SubnetIds=[name])
        if not answer or not answer["Subnets"]:
            text = f"{target.name}: there is no subnet {name}"
            return [failed(text, "correct its id or the region")]
        subnets += answer["Subnets"]
    found = []
    if not await _has_proxy(setup, target):
        for subnet in subnets:
            found += await _check_exit(setup, target, subnet)
    for subnet in subnets:
        found += _check_room(target, subnet)
    found += await _check_groups(setup, target, subnets[0]["VpcId"])
    return found or [ok(f"{target.name}: {len(subnets)} subnets have a way out")]


async def _has_proxy(setup: Setup, target: Target) -> bool:
    """Say whether the agents reach GitHub by a proxy, which may be in the same network."""
    definition = await setup.find_definition(target)
    variables = definition.read_variables(target.container) if definition is not None else {}
    return any(variables.get(name) for name in PROXIES)


def _check_room(target: Target, subnet: dict[str, Any]) -> list[Finding]:
    free = int(subnet.get("AvailableIpAddressCount", target.maximum))
    text = f"{target.name}: the subnet {subnet['SubnetId']} has {free} free addresses"
    change = "give the tasks more or larger subnets"
    if free == 0:
        return [failed(f"{text}: no task can be started there", change)]
    if free * len(target.network.subnets) < target.maximum:
        return [warning(f"{text}, and up to {target.maximum} tasks may live", change)]
    return []


async def _check_exit(setup: Setup, target: Target, subnet: dict[str, Any]) -> list[Finding]:
    """Look for a route to GitHub in the subnet's own table, else in the network's main one."""
    where = f"{target.name}: the subnet {subnet['SubnetId']}"
    by_subnet = {"Name": "association.subnet-id", "Values": [subnet["SubnetId"]]}
    main = [
        {"Name": "vpc-id", "Values": [subnet["VpcId"]]},
        {"Name": "association.main", "Values": ["true"]},
    ]
    tables: list[dict[str, Any]] = []
    for filters in ([by_subnet], main):
        answer = await setup.account.ask(EC2, "describe_route_tables", Filters=filters)
        tables = (answer or {}).get("RouteTables", [])
        if tables:
            break
    routes = [
        route
        for table in tables
        for route in table.get("Routes", [])
        if route.get("DestinationCidrBlock") == ANYWHERE[0]
    ]
    if not routes:
        change = "give it a route to a NAT gateway, tasks public addresses, or agents a proxy"
        return [failed(f"{where} has no way out: GitHub cannot be reached", change)]
    route = routes[0]
    if route.get("State") == "blackhole":
        text = f"{where} has a way out that leads nowhere: what it led to is gone"
        return [failed(text, "make the NAT gateway anew, and correct the route")]
    exit_ = next((str(route[key]) for key in EXITS if route.get(key)), "")
    if exit_.startswith("igw-") and not target.network.public_ip:
        text = f"{where} leads to an internet gateway, and the tasks have no public address"
        return [failed(text, "give tasks public addresses (public_ip), or use a NAT gateway")]
    if exit_.startswith("nat-") and target.network.public_ip:
        text = f"{where} leads to a NAT gateway, and the tasks have public addresses beside"
        return [warning(text, "leave public_ip out: the addresses cost money, and do nothing")]
    return []


async def _check_groups(setup: Setup, target: Target, vpc: str) -> list[Finding]:
    """Look for what the security groups let out; without groups it is the network's default one."""
    names = target.network.security_groups
    filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    given: dict[str, Any] = {"GroupIds": list(names)} if names else {"Filters": filters}
    answer = await setup.account.ask(EC2, "describe_security_groups", **given)
    if answer is None:
        text = f"{target.name}: there is no security group {' or no '.join(names)}"
        return [failed(text, "correct its id or the region")]
    groups = answer.get("SecurityGroups", [])
    foreign = [group["GroupId"] for group in groups if group.get("VpcId") != vpc]
    if foreign:
        text = f"{target.name}: the security group {foreign[0]} is of another network than subnets"
        return [failed(text, "name one of the subnets' own network")]
    if any(_lets_out(rule) for group in groups for rule in group.get("IpPermissionsEgress", [])):
        return []
    shown = " and ".join(names) or f"default of {vpc}"
    text = f"{target.name}: the security group {shown} lets nothing out to port {HTTPS}"
    return [failed(text, f"add a rule for egress: TCP, port {HTTPS}, {ANYWHERE[0]}")]


def _lets_out(rule: dict[str, Any]) -> bool:
    """Say whether a rule lets HTTPS out; to whom is not judged where it names no addresses."""
    if rule.get("IpProtocol") not in ("-1", "tcp"):
        return False
    first, last = rule.get("FromPort", 0), rule.get("ToPort", 65_535)
    covers = rule["IpProtocol"] == "-1" or first <= HTTPS <= last
    places = [each.get("CidrIp") for each in rule.get("IpRanges", [])]
    places += [each.get("CidrIpv6") for each in rule.get("Ipv6Ranges", [])]
    others = bool(rule.get("PrefixListIds") or rule.get("UserIdGroupPairs"))
    return covers and (others or any(place for place in places))
