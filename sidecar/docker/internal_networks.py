"""Tells of containers that cannot reach the relay: those with nothing but internal networks.

Docker 25 and later give a container in such a network no default route, so that its packets for
the relay do not even leave it. Earlier ones do, and there it is reached.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from sidecar.docker.engine import Unanswered

if TYPE_CHECKING:
    from sidecar.docker.engine import Engine

log = structlog.get_logger()

FIRST_WITHOUT_ROUTE = (1, 44)
"""The API of docker 25."""
_MOST = 256
"""Networks that are told of, in one life."""
_AGAIN, _AGAIN_MOST = 1.0, 30.0
"""Seconds until the daemon is asked again after it went away, or was not there yet."""


async def reported(engine: Engine) -> None:
    """Tell of each network once, when a container is in nothing better, until cancelled."""
    told: set[str] = set()
    wait = _AGAIN
    while len(told) < _MOST:
        try:
            if not await _may_lack_routes(engine):
                return
            async for event in engine.events({"type": ["network"], "event": ["connect"]}):
                wait = _AGAIN
                await _looked_at(engine, event, told)
        except Unanswered as error:
            log.debug("docker.events_lost", reason=str(error), seconds=wait)
        await asyncio.sleep(wait)
        wait = min(2 * wait, _AGAIN_MOST)


async def _may_lack_routes(engine: Engine) -> bool:
    version = await engine.get("/version")
    text = str(version.get("ApiVersion", "")) if isinstance(version, dict) else ""
    try:
        return tuple(int(part) for part in text.split(".")) >= FIRST_WITHOUT_ROUTE
    except ValueError:
        return True  # what cannot be read is newer than all that is known


async def _looked_at(engine: Engine, event: dict[str, Any], told: set[str]) -> None:
    attributes = (event.get("Actor") or {}).get("Attributes") or {}
    container, name = attributes.get("container"), str(attributes.get("name"))
    if name in told or attributes.get("type") != "bridge" or not container:
        return
    try:
        internal = {
            str(network.get("Name"))
            for network in await engine.networks()
            if network.get("Internal")
        }
        if name not in internal:
            return
        inspected = await engine.get(f"/containers/{container}/json")
        joined = set((inspected.get("NetworkSettings") or {}).get("Networks") or {name})
    except Unanswered as error:
        log.debug("docker.events_lost", reason=str(error), seconds=0)
        return  # it is gone already: so nobody misses anything
    if joined <= internal:
        told.add(name)
        log.warning(
            "network.relay_unreachable",
            network=name,
            container=str(container)[:12],
            reason="docker gives containers of an internal network no way out, and none to the "
            "relay: they have no credentials. Attach those that need them to another network too",
        )
