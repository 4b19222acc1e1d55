"""What becomes of the containers that have a path: told by the engine's events, or by its list."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from sidecar.docker.engine import Unanswered

if TYPE_CHECKING:
    from sidecar.docker.engine import Engine

log = structlog.get_logger()

_AGAIN, _AGAIN_MOST = 0.1, 5.0
"""Seconds until the daemon is asked again after it went away, or was not there yet."""
_EVENTS = {"type": ["container"], "event": ["start", "die", "destroy"]}


class ContainerEvents(Protocol):
    """Who wants to know. Every verb may be said of what is not known, and again."""

    def runs(self, container: str) -> None:
        """Hear that it runs."""

    def rests(self, container: str) -> None:
        """Hear that it has stopped, and may be started again."""

    def died(self, container: str) -> None:
        """Hear that it is no more."""

    def known(self) -> set[str]:
        """Return those that are of interest."""
        ...


async def followed(engine: Engine, container_events: ContainerEvents) -> None:
    """Tell of containers until cancelled; after each gap go by the engine's list."""
    wait = _AGAIN
    while True:
        since = int(time.time())
        try:
            await _compared(engine, container_events)
            wait = _AGAIN
            # What happened since the list was asked for is told again.
            async for event in engine.events(_EVENTS, since=since):
                _told(event, container_events)
        except (Unanswered, AttributeError, TypeError) as error:  # or it told what nobody expects
            log.debug("docker.events_lost", reason=str(error), seconds=wait)
        await asyncio.sleep(wait)
        wait = min(2 * wait, _AGAIN_MOST)


async def _compared(engine: Engine, container_events: ContainerEvents) -> None:
    known = container_events.known()
    if not known:
        return
    told = await engine.get("/containers/json?all=1")
    states = {
        str(one.get("Id")): str(one.get("State"))
        for one in (told if isinstance(told, list) else ())
        if isinstance(one, dict)
    }
    for container in known:
        if container not in states:
            container_events.died(container)
        elif states[container] != "created":
            container_events.rests(container)  # since it may have been elsewhere meanwhile
            if states[container] in ("running", "paused"):
                container_events.runs(container)


def _told(event: dict[str, Any], container_events: ContainerEvents) -> None:
    container = str((event.get("Actor") or {}).get("ID") or event.get("id"))
    match event.get("Action") or event.get("status"):
        case "start":
            container_events.runs(container)
        case "die":
            container_events.rests(container)
        case "destroy":
            container_events.died(container)


def addresses(inspected: Any) -> frozenset[str] | None:
    """Return a container's IPv4 addresses, as its inspect tells them.

    None if it has none of its own: it is in the host's network, or in another container's.
    """
    told = inspected if isinstance(inspected, dict) else {}
    mode = str((told.get("HostConfig") or {}).get("NetworkMode"))
    if mode == "host" or mode.startswith("container:"):
        return None
    networks = ((told.get("NetworkSettings") or {}).get("Networks") or {}).values()
    found = (network.get("IPAddress") for network in networks if isinstance(network, dict))
    return frozenset(address for address in found if address)
