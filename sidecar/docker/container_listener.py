"""Report what happens to containers and their networks, from the engine's events and its list."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from sidecar.docker.engine import EngineError
from sidecar.docker.object_states import CONTAINERS, read_states
from sidecar.net import retry

if TYPE_CHECKING:
    from sidecar.docker.engine import Engine

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds until the engine is asked again after it went away, or was not there yet."""
_LOST = (EngineError, AttributeError, TypeError)
"""The engine is away, or its answer does not have the expected form."""
_EVENTS = {
    "type": ["container", "network"],
    "event": ["start", "die", "destroy", "connect", "disconnect"],
}


class ContainerEventHandler(Protocol):
    """Is called with what happens to containers, unknown ones too, and more than once."""

    def on_start(self, container: str) -> None:
        """Note that a container runs."""

    def on_stop(self, container: str) -> None:
        """Note that a container has stopped, and may be started again."""

    def on_removed(self, container: str) -> None:
        """Note that a container is removed."""

    def on_join(self, container: str) -> None:
        """Note that a container has joined a network, and may have one more address."""

    def on_leave(self, container: str) -> None:
        """Note that a container has left a network: its address there may be another's."""

    def known(self) -> set[str]:
        """Return the ids of the containers to report."""
        ...


async def follow_containers(engine: Engine, handler: ContainerEventHandler) -> None:
    """Report what happens to containers until cancelled; after a gap, compare with the list."""
    pause = retry.growing(_LOST, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
    while True:
        since = int(time.time())
        try:
            await _compare_with_list(engine, handler)
            pause = retry.growing(_LOST, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
            # Since before the list was asked for: an event may come twice, but none is missed.
            async for event in engine.events(_EVENTS, since=since):
                _handle_event(event, handler)
        except _LOST as error:
            seconds = pause(error)
            log.debug("docker.events_lost", reason=str(error), seconds=seconds)
            await asyncio.sleep(seconds)


async def _compare_with_list(engine: Engine, handler: ContainerEventHandler) -> None:
    known = handler.known()
    if not known:
        return
    states = await read_states(engine, CONTAINERS, known)
    for container in known:
        if container not in states:
            handler.on_removed(container)
        elif states[container] != "created":
            handler.on_stop(container)  # it may have another address than before the gap
            if states[container] in ("running", "paused"):
                handler.on_start(container)


def _handle_event(event: dict[str, Any], handler: ContainerEventHandler) -> None:
    actor = event.get("Actor") or {}
    if event.get("Type") == "network":
        container = str((actor.get("Attributes") or {}).get("container"))
        match event.get("Action"):
            case "connect":
                handler.on_join(container)
            case "disconnect":
                handler.on_leave(container)
        return
    container = str(actor.get("ID") or event.get("id"))
    match event.get("Action") or event.get("status"):
        case "start":
            handler.on_start(container)
        case "die":
            handler.on_stop(container)
        case "destroy":
            handler.on_removed(container)


def read_addresses(inspected: Any) -> frozenset[str] | None:
    """Return a container's IPv4 addresses, from the engine's answer to inspect.

    None if it has none of its own: it uses the host's network, or another container's.
    """
    fields = inspected if isinstance(inspected, dict) else {}
    mode = str((fields.get("HostConfig") or {}).get("NetworkMode"))
    if mode == "host" or mode.startswith("container:"):
        return None
    networks = ((fields.get("NetworkSettings") or {}).get("Networks") or {}).values()
    addresses = (network.get("IPAddress") for network in networks if isinstance(network, dict))
    return frozenset(address for address in addresses if address)
