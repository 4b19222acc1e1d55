"""Serve the webhook by aiohttp, with bounded memory and time for what strangers send."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from launcher.demand.delivery import LARGEST, Answer

if TYPE_CHECKING:
    from launcher.demand.webhook import Webhook

READ_WITHIN = 8.0
"""Seconds for a whole body. GitHub itself gives up after ten."""
MEMORY = 128 * 1024 * 1024
"""Bytes of all bodies that are being read: a stranger may open many connections."""


class _Room:
    """Counts the bytes of all bodies that are held now."""

    def __init__(self, size: int) -> None:
        self.left = size


def make_application(
    webhook: Webhook, path: str = "/webhook", memory: int = MEMORY
) -> web.Application:
    """Make the application that takes deliveries at `path`."""
    room = _Room(memory)

    async def take(request: web.Request) -> web.Response:
        answer = await _take(webhook, request, room)
        return web.Response(status=answer.status, text=answer.text)

    application = web.Application(client_max_size=LARGEST)
    application.router.add_post(path, take)
    return application


async def _take(webhook: Webhook, request: web.Request, room: _Room) -> Answer:
    headers = {key.lower(): value for key, value in request.headers.items()}
    # Both are known before the body is read.
    if (request.content_length or 0) > LARGEST:
        return Answer(413, f"the payload has more than {LARGEST} bytes")
    if "x-hub-signature-256" not in headers:
        return Answer(401, "the signature is missing or wrong")
    held = 0
    body = bytearray()
    try:
        async with asyncio.timeout(READ_WITHIN):
            async for chunk in request.content.iter_any():
                room.left -= len(chunk)
                held += len(chunk)
                if held > LARGEST:
                    return Answer(413, f"the payload has more than {LARGEST} bytes")
                if room.left < 0:
                    return Answer(503, "too many payloads at once")
                body += chunk
        return await webhook.take(headers, bytes(body))
    except TimeoutError:
        return Answer(408, "the payload did not come in time")
    finally:
        room.left += held
