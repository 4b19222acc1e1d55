"""Answer the API's requests in a Lambda function: of a function URL, an HTTP API, a load balancer.

One loop, and all connections, live as long as the container; pools are read again now and then.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog

from launcher.api.answers import make_error
from launcher.api_assembly import open_api
from launcher.demand.events import Malformed, read_event, read_path, shape_answer
from launcher.errors import LaunchError, describe
from launcher.retries import log_retries
from launcher.settings import ApiSettings, load
from sidecar.errors import SidecarError
from sidecar.log import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.api.answers import Answer
    from launcher.api_assembly import ApiParts

log = structlog.get_logger()

SPARE = 2.0
"""Seconds before the function's deadline at which the work is cut; who asks again goes on."""
TICK = "tick"
"""The `kind` of the event that a schedule sends once a minute."""
LONGEST = 25.0
"""Seconds of a request: whoever asks by a load balancer or an HTTP API waits for thirty."""


class ApiFunction:
    """One container's API, opened by its first request."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._settings, warnings = load({}, environ, ApiSettings)
        self._region = environ.get("AWS_REGION")
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._parts: ApiParts | None = None
        events.configure(self._settings.log_format, self._settings.log_level)
        log_retries()
        for warning in warnings:
            log.warning("settings.ignored", warning=warning)

    def answer(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:
        """Answer one request; or look after open orders, where the schedule says so."""
        left = getattr(context, "get_remaining_time_in_millis", None)
        seconds = max(1.0, min(LONGEST, left() / 1000 - SPARE) if left else LONGEST)
        if event.get("kind") == TICK:  # no request has this key: what callers send is in its body
            self._runner.run(self._tend(seconds))
            events.flush()
            return {}
        answer = self._runner.run(self._answer(event, seconds))
        events.flush()
        text, headers = json.dumps(answer.document), {"content-type": "application/json"}
        return shape_answer(event, answer.status, text, {**headers, **answer.headers})

    def close(self) -> None:
        """Close all connections; a container ends without it."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _answer(self, event: Mapping[str, Any], seconds: float) -> Answer:
        try:
            method, headers, body = read_event(event)
            path = read_path(event)
        except Malformed as error:
            return make_error(400, str(error))
        try:
            async with asyncio.timeout(seconds):
                parts = await self._open()
                await parts.pools.refresh()
                return await parts.api.answer(method, path, headers, body)
        except TimeoutError:
            log.error("order.cut", seconds=seconds)  # noqa: TRY400
            return make_error(503, "it takes too long: ask again", again_in=SPARE)
        except (SidecarError, LaunchError) as error:
            log.error("order.failed", path=path, reason=describe(error))  # noqa: TRY400
            return make_error(503, "the API cannot begin: see the launcher's log", again_in=SPARE)

    async def _tend(self, seconds: float) -> None:
        """Look after open orders; those for which there was no time come with the next tick."""
        try:
            async with asyncio.timeout(seconds):
                parts = await self._open()
                await parts.pools.refresh()
                await parts.orders.tend()
        except TimeoutError:
            log.warning("tick.failed", reason=f"not all orders were looked at within {seconds:g} s")
        except (SidecarError, LaunchError) as error:
            log.warning("tick.failed", reason=describe(error))

    async def _open(self) -> ApiParts:
        if self._parts is None:
            opened = open_api(self._settings, self._region)
            self._parts = await self._stack.enter_async_context(opened)
        return self._parts
