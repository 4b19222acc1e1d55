"""Read the routing table: which interface leads to a peer, and which belong to the task itself.

It is the table of this process's network namespace, read from /proc: no tool is needed. So is the
list of the sockets that were made in it.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import NamedTuple

ECS_AGENT = "169.254.170.2"
IMDS = "169.254.169.254"

_LOOPBACK = "127.0.0.1"
_TABLE = Path("/proc/thread-self/net/route")
_SOCKETS = Path("/proc/thread-self/net/unix")
_LISTENS = 0x10000
_GATEWAY = 0x2
_REJECT = 0x200


class Route(NamedTuple):
    """One route of the routing table; addresses as numbers."""

    interface: str
    network: int
    mask: int
    by_gateway: bool
    metric: int

    @property
    def outward(self) -> bool:
        """Whether this route leads out of the task.

        Networks of a docker daemon have no gateway. The ECS agent and the instance metadata are
        outside, also without a gateway.
        """
        to_ecs = self.mask == 0xFFFFFFFF and self.network in _OUTSIDE
        return self.by_gateway or self.mask == 0 or to_ecs


def _number(address: str) -> int:
    return int(IPv4Address(address))


_OUTSIDE = frozenset({_number(ECS_AGENT), _number(IMDS)})


def table() -> list[Route]:
    """Read the IPv4 routes; none on a system without /proc/net/route."""
    try:
        lines = _TABLE.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []
    routes = []
    for line in lines:
        name, network, _, flags, _, _, metric, mask, *_ = line.split()
        if not int(flags, 16) & _REJECT:
            by_gateway = bool(int(flags, 16) & _GATEWAY)
            routes.append(Route(name, _parse(network), _parse(mask), by_gateway, int(metric)))
    return routes


def _parse(word: str) -> int:
    """Parse an address as the kernel prints it: in the byte order of this machine."""
    return socket.ntohl(int(word, 16))


def task_interfaces() -> tuple[str, ...]:
    """Return the interfaces that lead out of the task: by these, its neighbours can connect."""
    names = {route.interface for route in table() if route.outward}
    return tuple(sorted(names - {"lo"}))


def interface_to(address: str) -> str | None:
    """Return the interface that leads to an IPv4 address; None if there is none."""
    return _find_best(address, table())


def _find_best(address: str, routes: list[Route]) -> str | None:
    wanted = _number(address)
    matching = [route for route in routes if wanted & route.mask == route.network]
    best = max(matching, key=lambda route: (route.mask, -route.metric), default=None)
    return best.interface if best is not None else None


def current_interface(address: str) -> str | None:
    """Return the interface that leads to an address at this moment.

    None if there is none, or if the address is this namespace's own.
    """
    return None if is_own(address) else interface_to(address)


def outward_interface(address: str) -> str | None:
    """Return the interface that leads to an address, out of the task.

    A docker network that an earlier job left around the address is passed over. None if nothing
    leads there, or if the address is this namespace's own without such a network.
    """
    found = interface_to(address)
    if found is None or found in task_interfaces():
        return None if is_own(address) else found
    return _find_best(address, [route for route in table() if route.outward])


def has_network(interface: str, subnet: str) -> bool:
    """Return whether an interface of this namespace is part of that IPv4 network."""
    try:
        network = IPv4Network(subnet)
    except ValueError:
        return False
    wanted = (interface, int(network.network_address), int(network.netmask), False)
    return any(route[:4] == wanted for route in table())


def has_listener(path: Path) -> bool:
    """Return whether a process of this network namespace listens at a Unix socket of that name.

    Only the last part of the path counts: the process may see the folder at another path.
    """
    try:
        names = {path.name, path.resolve().name}
        lines = _SOCKETS.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    except OSError:
        return False
    for line in lines:
        _, _, _, flags, _, _, _, *bound = line.split(maxsplit=7)
        if bound and int(flags, 16) & _LISTENS and bound[0].rpartition("/")[2] in names:
            return True
    return False


def is_own(address: str) -> bool:
    """Return whether an address belongs to this network namespace; nothing is sent.

    The kernel would connect to one of its own addresses from that same address.
    """
    try:
        parsed = ip_address(address)
        family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(parsed), 9))
            return ip_address(probe.getsockname()[0]) == parsed
    except (ValueError, OSError):
        return False


def is_task_s_own(address: str) -> bool:
    """Return whether a peer is a process of this network namespace, and no container in it."""
    try:
        return ip_address(address).is_loopback or is_own(address)
    except ValueError:
        return False


class Peers:
    """Decides who may ask the relay: this namespace itself, and the networks inside it."""

    def __init__(self, interfaces: tuple[str, ...]) -> None:
        self._interfaces = interfaces

    def __call__(self, address: str) -> bool:
        """Return whether a peer may be answered, by the networks that exist at this moment."""
        if address == _LOOPBACK:  # the most frequent peer: no need to parse it
            return True
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
