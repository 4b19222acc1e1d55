"""Serve the API by aiohttp, with bounded memory and time for what strangers send."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from launcher.api.answers import Answer, make_error
from launcher.api.requests import LARGEST

if TYPE_CHECKING:
    from launcher.api.api import Api

READ_WITHIN = 8.0
"""Seconds for a whole body."""


def make_application(api: Api) -> web.Application:
    """Make the application that answers at every path; what has no path of its own is refused."""

    async def take(request: web.Request) -> web.Response:
        answer = await _take(api, request)
        return web.Response(
            status=answer.status,
            body=json.dumps(answer.document).encode(),
            content_type="application/json",
            headers=answer.headers,
        )

    application = web.Application(client_max_size=LARGEST)
    application.router.add_route("*", "/{path:(?!healthz$).*}", take)
    return application


async def _take(api: Api, request: web.Request) -> Answer:
    headers = {key.lower(): value for key, value in request.headers.items()}
    try:
        async with asyncio.timeout(READ_WITHIN):
            body = await request.read() if request.can_read_body else b""
    except TimeoutError:
        return make_error(408, "the body did not come in time")
    except web.HTTPRequestEntityTooLarge:
        return make_error(413, f"the body has more than {LARGEST} bytes")
    return await api.answer(request.method, request.path, headers, body)
