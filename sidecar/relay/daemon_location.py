"""Find out whether the docker daemon runs in this network namespace.

Its bridges say so, if they are there: docker makes them when it starts, but podman makes each with
its first container. Until then the namespace of the daemon's listening socket says it.
"""

from __future__ import annotations

import asyncio
import socket
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sidecar import host
from sidecar.relay.routes import has_listener, has_network, is_own

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_LOOKUP_TIMEOUT = 2.0
"""Seconds to look up the address of a daemon that is named."""


class DaemonLocation(StrEnum):
    """A place where the docker daemon can be."""

    ABSENT = "absent"
    SILENT = "silent"
    """It is configured, but does not answer (yet)."""
    HERE = "here"
    """In this network namespace."""
    ELSEWHERE = "elsewhere"


class Daemon(Protocol):
    """A docker daemon, as far as its location needs it."""

    @property
    def hostname(self) -> str | None:
        """The host of a daemon on the network; None for a daemon behind a socket."""

    @property
    def socket(self) -> Path | None:
        """The path of its socket; None if it has none."""

    async def makes_bridges_late(self) -> bool:
        """Return whether a bridge comes with its first container. Raises as `networks` does."""
        ...

    async def networks(self) -> list[dict[str, Any]]:
        """Return what `GET /networks` answers. Raises an Exception that says why it cannot."""


class Bridge(NamedTuple):
    """A bridge network, on the daemon's side."""

    interface: str
    subnet: str
    """As in `172.17.0.0/16`."""
    gateway: str | None
    """The interface's own address, if the daemon reports it: 20.10 does not always."""


async def locate_daemon(daemon: Daemon | None) -> tuple[DaemonLocation, str]:
    """Return where the daemon is, and how that is known; takes a few seconds at most."""
    if daemon is None:
        reason = f"nothing names a docker daemon (DOCKER_HOST, {host.DOCKER_PLACE})"
        return DaemonLocation.ABSENT, reason
    if daemon.hostname is not None:
        return await _locate_by_address(daemon.hostname)
    try:
        networks = await daemon.networks()
    except Exception as error:  # noqa: BLE001  the docker client's own: relay imports no docker
        return DaemonLocation.SILENT, str(error)
    for bridge in bridges(networks):
        if bridge.gateway is not None and is_own(bridge.gateway):
            reason = f"the docker daemon's bridge {bridge.gateway} is an address of ours"
            return DaemonLocation.HERE, reason
        if has_network(bridge.interface, bridge.subnet):
            return DaemonLocation.HERE, f"the docker daemon's bridge {bridge.interface} is ours"
    if await _may_lack_bridges(daemon, networks) and _listens_here(daemon.socket):
        reason = "the docker daemon listens in our namespace, and has no bridge yet"
        return DaemonLocation.HERE, reason
    return DaemonLocation.ELSEWHERE, "no bridge of the docker daemon is ours"


async def _may_lack_bridges(daemon: Daemon, networks: list[dict[str, Any]]) -> bool:
    """Return whether the bridges of these networks may come later."""
    if not bridges(networks):
        return True
    try:
        return await daemon.makes_bridges_late()
    except Exception:  # noqa: BLE001  as above; it has answered before
        return False


def _listens_here(path: Path | None) -> bool:
    return path is not None and has_listener(path)


async def _locate_by_address(hostname: str) -> tuple[DaemonLocation, str]:
    """Locate a daemon by its address alone: to ask it may need a certificate."""
    try:
        async with asyncio.timeout(_LOOKUP_TIMEOUT):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return DaemonLocation.SILENT, f"DOCKER_HOST names {hostname}, which has no address"
    if any(is_own(str(address[0])) for *_, address in found):
        return DaemonLocation.HERE, f"DOCKER_HOST names {hostname}, an address of ours"
    return DaemonLocation.ELSEWHERE, f"DOCKER_HOST names {hostname}, which is not ours"


def bridges(networks: Iterable[Mapping[str, Any]]) -> list[Bridge]:
    """Return the bridges among these networks, one for each of their subnets."""
    return [
        Bridge(_interface(network), str(config.get("Subnet")), config.get("Gateway") or None)
        for network in networks
        if network.get("Driver") == "bridge"
        for config in (network.get("IPAM") or {}).get("Config") or ()
    ]


def _interface(network: Mapping[str, Any]) -> str:
    name = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(name or f"br-{str(network.get('Id'))[:12]}")
