"""How containers come to credentials: chosen from what is seen of the task and its daemon.

The daemon's place decides. In a network namespace that is the task's own, rules lead its
containers to the relay; anywhere else the ECS agent answers them already, and no rule is ours to
put up.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sidecar.docker.engine import Unanswered, bridges
from sidecar.errors import RelayError
from sidecar.relay.routes import has_network, is_own

if TYPE_CHECKING:
    from sidecar.docker.engine import Engine

_LOOKUP = 2.0
"""Seconds to find the address of a daemon that is named."""


class Mode(StrEnum):
    """As in SIDECAR_RELAY."""

    LOCAL = "local"
    """The relay is for the job's own steps, at an address of its own."""
    NETFILTER = "netfilter"
    """Whoever asks the ECS agent or the instance reaches the relay, containers included."""
    PASS_THROUGH = "pass-through"  # noqa: S105
    """Containers reach the ECS agent itself, by the agent's URI; no rule is touched."""
    OFF = "off"


class Docker(StrEnum):
    """Where the docker daemon is."""

    ABSENT = "absent"
    SILENT = "silent"
    """Something names it, but it does not answer (yet)."""
    HERE = "here"
    """In this network namespace."""
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the choice is made from."""

    docker: Docker
    told: str
    """How that is known."""
    obstacle: str | None = None
    """Why rules may, or can, not stand here."""
    relative_uri: bool = True
    """Whether the task has a URI at the ECS agent's address."""
    separate_job_role: bool = False
    """Whether jobs have a role of their own."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The mode, and why it is that one."""

    mode: Mode
    reason: str


async def located(engine: Engine | None) -> tuple[Docker, str]:
    """Find out where the daemon is, and how that is known; takes 2 s at most."""
    if engine is None:
        return Docker.ABSENT, "nothing names a docker daemon (DOCKER_HOST, /var/run/docker.sock)"
    if engine.machine is not None:
        return await _at(engine.machine)
    try:
        networks = await engine.networks()
    except Unanswered as error:
        return Docker.SILENT, str(error)
    for bridge in bridges(networks):
        if bridge.gateway is not None and is_own(bridge.gateway):
            return Docker.HERE, f"the docker daemon's bridge {bridge.gateway} is an address of ours"
        if has_network(bridge.interface, bridge.subnet):
            return Docker.HERE, f"the docker daemon's bridge {bridge.interface} is ours"
    return Docker.ELSEWHERE, "no bridge of the docker daemon is ours"


async def _at(machine: str) -> tuple[Docker, str]:
    """Judge a daemon by the address at which it is named; it may ask for a certificate."""
    try:
        async with asyncio.timeout(_LOOKUP):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(machine, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return Docker.SILENT, f"DOCKER_HOST names {machine}, which has no address"
    if any(is_own(str(address[0])) for *_, address in found):
        return Docker.HERE, f"DOCKER_HOST names {machine}, an address of ours"
    return Docker.ELSEWHERE, f"DOCKER_HOST names {machine}, which is not ours"


def chosen(wanted: str, facts: Facts) -> Choice:
    """Choose by `wanted`, the value of SIDECAR_RELAY. Raises RelayError if that cannot be."""
    match wanted:
        case Mode.OFF | Mode.LOCAL:
            return Choice(Mode(wanted), f"SIDECAR_RELAY={wanted}")
        case Mode.NETFILTER:
            return _forced_netfilter(facts)
        case Mode.PASS_THROUGH:
            return _forced_pass_through(facts)
        case _:
            return _automatic(facts)


def _automatic(facts: Facts) -> Choice:
    if facts.docker is Docker.ABSENT:
        return Choice(Mode.LOCAL, facts.told)
    # A daemon that is named and silent most likely starts beside us: the rules wait for it.
    if facts.docker is not Docker.ELSEWHERE and facts.obstacle is None:
        return Choice(Mode.NETFILTER, facts.told)
    why = facts.told if facts.docker is Docker.ELSEWHERE else facts.obstacle
    if facts.separate_job_role:
        return Choice(Mode.LOCAL, f"{why}; containers shall not have the task role")
    if not facts.relative_uri:
        return Choice(Mode.LOCAL, f"{why}; {_NO_URI}")
    return Choice(Mode.PASS_THROUGH, str(why))


_NO_URI = "the task has no AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"


def _forced_netfilter(facts: Facts) -> Choice:
    why = facts.told if facts.docker is Docker.ELSEWHERE else facts.obstacle
    if why is not None:
        raise RelayError(
            f"cannot relay to containers by network rules: {why} (SIDECAR_RELAY=netfilter; auto "
            "takes what is possible)"
        )
    return Choice(Mode.NETFILTER, "SIDECAR_RELAY=netfilter")


def _forced_pass_through(facts: Facts) -> Choice:
    if not facts.relative_uri:
        raise RelayError(
            f"cannot pass the ECS agent's URI through to containers: {_NO_URI} "
            "(SIDECAR_RELAY=pass-through; local serves the job's own steps)"
        )
    return Choice(Mode.PASS_THROUGH, "SIDECAR_RELAY=pass-through")
