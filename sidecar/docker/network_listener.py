"""Report that networks of the engine were made or joined, from the engine's events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from sidecar.docker.engine import EngineError
from sidecar.net import retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.docker.engine import Engine

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Seconds until the engine is asked again after it went away, or was not there yet."""
_EVENTS = {"type": ["network"], "event": ["create", "connect"]}


async def follow_networks(engine: Engine, on_network: Callable[[], None]) -> None:
    """Call `on_network` for each network that was made or joined, and after each gap.

    Runs until cancelled.
    """
    pause = retry.growing(EngineError, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
    while True:
        try:
            on_network()
            async for _ in engine.events(_EVENTS):
                pause = retry.growing(EngineError, first=_FIRST_PAUSE, longest=_LONGEST_PAUSE)
                on_network()
        except EngineError as error:
            seconds = pause(error)
            log.debug("docker.events_lost", reason=str(error), seconds=seconds)
            await asyncio.sleep(seconds)
