"""Warn about containers that cannot reach the relay: those with internal networks only.

Docker 25 and later give a container in an internal network no default route, so its packets for
the relay do not leave it. With earlier versions it reaches the relay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from sidecar.docker.engine import EngineError
from sidecar.docker.warning_limit import WarningLimit, shorten
from sidecar.net import retry

if TYPE_CHECKING:
    from sidecar.docker.engine import Engine

log = structlog.get_logger()

FIRST_WITHOUT_ROUTE = (1, 44)
"""The API version of docker 25."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds until the engine is asked again after it went away, or was not there yet."""


async def warn_about_internal_networks(engine: Engine) -> None:
    """Warn once per network when a container has internal networks only. Runs until cancelled.

    Ends at once if the engine is older than docker 25.
    """
    warnings = WarningLimit()
    pause = retry.growing(EngineError, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
    while True:
        try:
            if not await _may_lack_routes(engine):
                return
            async for event in engine.events({"type": ["network"], "event": ["connect"]}):
                pause = retry.growing(EngineError, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
                await _check_event(engine, event, warnings)
        except EngineError as error:
            seconds = pause(error)
            log.debug("docker.events_lost", reason=str(error), seconds=seconds)
            await asyncio.sleep(seconds)


async def _may_lack_routes(engine: Engine) -> bool:
    version = await engine.get("/version")
    text = str(version.get("ApiVersion", "")) if isinstance(version, dict) else ""
    try:
        return tuple(int(part) for part in text.split(".")) >= FIRST_WITHOUT_ROUTE
    except ValueError:
        return True  # an unknown form is taken for a newer version


async def _check_event(engine: Engine, event: dict[str, Any], warnings: WarningLimit) -> None:
    attributes = (event.get("Actor") or {}).get("Attributes") or {}
    container, name = attributes.get("container"), str(attributes.get("name"))
    if attributes.get("type") != "bridge" or not container:
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
    except EngineError as error:
        log.debug("docker.events_lost", reason=str(error), seconds=0)
        return  # the container is removed already, and needs no credentials
    if joined <= internal and (counts := warnings.admit("internal", name)) is not None:
        log.warning(
            "network.relay_unreachable",
            network=shorten(name),
            container=str(container)[:12],
            reason="docker gives containers of an internal network no way out, and none to the "
            "relay: they have no credentials. Attach those that need them to another network too",
            **counts,
        )
