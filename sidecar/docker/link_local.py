"""Refuse networks and ports of docker at the addresses where the agent gets its credentials.

A docker network with the address of the ECS agent, or of the instance's metadata, would stand in
the agent's own way to them: what a container answers there would be taken for AWS.

Each check returns the reason to refuse the request, or None.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from sidecar.docker.json_documents import JsonObject
from sidecar.docker.warning_limit import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

_AWS = (
    IPv4Network("169.254.0.0/16"),
    IPv6Network("::ffff:169.254.0.0/112"),
    IPv6Network("::169.254.0.0/112"),
    IPv6Network("64:ff9b::169.254.0.0/112"),
    IPv6Network("fd00:ec2::/32"),
)
"""Link-local addresses in all their forms, and AWS's own of IPv6."""
_DOTTED = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(/[0-9]{1,3})?")
_DIGITS_OF_AWS = ("169.254", "a9fe", "fd00:ec2")
"""No text with these is passed on that cannot be read: an engine may read more than we do."""


def check_network(body: JsonObject) -> str | None:
    """Check a new network: its subnets, gateways and options, in docker's form and in podman's."""
    for name in ("IPAM", "Options", "subnets"):
        for text in _find_texts(_get(body, name)):
            if is_link_local(text):
                return f"a network with the link-local address {shorten(text)}"
    return None


def check_ports(body: JsonObject) -> str | None:
    """Check the addresses at which a new container publishes ports, in both forms."""
    config = body.get_field("HostConfig", dict) or JsonObject([])
    published = (_get(body, "PortBindings"), _get(config, "PortBindings"))
    for value in (*published, _get(body, "portmappings")):
        for text in _find_texts(value):
            if is_link_local(text):
                return f"a port at the link-local address {shorten(text)}"
    return None


def is_link_local(text: str) -> bool:
    """Return whether a text is an address or a network that touches one of AWS's."""
    text = text.strip().strip("[]").lower()
    if (dotted := _DOTTED.fullmatch(text)) is not None:
        # Old engines read zeros before a number, which Python does not.
        text = ".".join(str(int(part)) for part in dotted.groups()[:4]) + (dotted[5] or "")
    try:
        found = ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        return any(digits in text for digits in _DIGITS_OF_AWS)
    if isinstance(found, IPv4Network):
        return found.overlaps(_AWS[0])
    return any(found.overlaps(one) for one in _AWS if isinstance(one, IPv6Network))


def _get(body: JsonObject, name: str) -> object:
    key = body.find_key(name)
    return None if key is None else body[key]


def _find_texts(value: object) -> Iterator[str]:
    """Yield all texts in a value, however deep; not the keys of its objects."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
