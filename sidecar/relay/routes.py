"""By which interface somebody is reached, and which interfaces are the task's own.

Read from the routing table of this process's network namespace: there is always one, whatever
tools an image has.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import NamedTuple

ECS_AGENT = "169.254.170.2"
IMDS = "169.254.169.254"

_TABLE = Path("/proc/thread-self/net/route")
_GATEWAY = 0x2
_REJECT = 0x200


class Route(NamedTuple):
    """One line of the routing table."""

    interface: str
    network: int
    mask: int
    by_gateway: bool
    metric: int

    @property
    def outward(self) -> bool:
        """Whether this is how the task reaches what is outside it.

        Networks of a docker daemon have no gateway; what it is asked for itself it answers.
        """
        to_ecs = self.mask == 0xFFFFFFFF and self.network in _OUTSIDE
        return self.by_gateway or self.mask == 0 or to_ecs


def _number(address: str) -> int:
    return int(IPv4Address(address))


_OUTSIDE = frozenset({_number(ECS_AGENT), _number(IMDS)})


def table() -> list[Route]:
    """Read the IPv4 routes; none where there is no such table."""
    try:
        lines = _TABLE.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        name, network, _, flags, _, _, metric, mask, *_ = line.split()
        if not int(flags, 16) & _REJECT:
            by_gateway = bool(int(flags, 16) & _GATEWAY)
            found.append(Route(name, _swapped(network), _swapped(mask), by_gateway, int(metric)))
    return found


def _swapped(word: str) -> int:
    """Read an address as the kernel prints it: the bytes of its memory as one number."""
    return socket.ntohl(int(word, 16))


def task_interfaces() -> tuple[str, ...]:
    """Name the interfaces that lead out of the task: its neighbours may come in by them."""
    names = {route.interface for route in table() if route.outward}
    return tuple(sorted(names - {"lo"}))


def interface_to(address: str) -> str | None:
    """Name the interface by which an IPv4 address is reached; None if there is none."""
    wanted = _number(address)
    fitting = [route for route in table() if wanted & route.mask == route.network]
    best = max(fitting, key=lambda route: (route.mask, -route.metric), default=None)
    return best.interface if best is not None else None


def has_network(interface: str, subnet: str) -> bool:
    """Whether an interface of this namespace stands in that IPv4 network itself."""
    try:
        network = IPv4Network(subnet)
    except ValueError:
        return False
    wanted = (interface, int(network.network_address), int(network.netmask), False)
    return any(route[:4] == wanted for route in table())


def is_own(address: str) -> bool:
    """Whether an address is this network namespace's own; nothing is sent to find out.

    The kernel answers an address of its own from that same address.
    """
    try:
        parsed = ip_address(address)
        family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(parsed), 9))
            return ip_address(probe.getsockname()[0]) == parsed
    except (ValueError, OSError):
        return False


class Peers:
    """Who may ask the relay: this namespace itself, and who is reached by a network within it."""

    def __init__(self, interfaces: tuple[str, ...]) -> None:
        self._interfaces = interfaces

    def __call__(self, address: str) -> bool:
        """Tell whether a peer, by its address, may be answered now: networks come and go."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if parsed.is_loopback or is_own(address):
            return True
        if not isinstance(parsed, IPv4Address):
            return False
        interface = interface_to(address)
        return interface is not None and interface not in self._interfaces
