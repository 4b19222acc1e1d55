"""Take one call: count it, spoil it if that was ordered, answer it with GitHub's headers."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from local.github import bodies
from local.github.faults import Fault
from local.github.world import Call, World

WORLD = web.AppKey("world", World)
RATE = web.RequestKey("rate", dict[str, str])
Handler = Callable[[web.Request, World], Awaitable[web.StreamResponse]]


class Refusal(Exception):
    """An answer that is not the wanted one; `body` is REST's unless it is given."""

    def __init__(self, status: int, message: str, body: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = bodies.error(status, message) if body is None else body


def answer(body: Any, status: int = 200) -> web.Response:
    """Answer with JSON, typed as GitHub types it."""
    return web.json_response(body, status=status)


def nothing(status: int = 204) -> web.Response:
    """Answer without a body."""
    return web.Response(status=status)


async def posted(request: web.Request) -> dict[str, Any]:
    """Give the body as a JSON object; none counts as an empty one."""
    text = await request.text()
    try:
        body = json.loads(text) if text.strip() else {}
    except ValueError:
        raise Refusal(400, "Problems parsing JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "Body should be a JSON object")
    return body


def count_calls(
    name: str, handler: Handler
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make aiohttp's handler of ours; `name` is how counts and faults call it."""

    async def take(request: web.Request) -> web.StreamResponse:
        world = request.app[WORLD]
        if not name.startswith("_"):
            return await _logged(request, world, name, handler)
        return await _take(request, world, name, handler)

    return take


async def _logged(
    request: web.Request, world: World, name: str, handler: Handler
) -> web.StreamResponse:
    """Answer, and write down what came and what became of it."""
    ended, body = "client left", await request.text()
    try:
        response = await _take(request, world, name, handler)
        aborted = request.transport is None or request.transport.is_closing()
        ended = "closed" if aborted else str(response.status)
        return response
    finally:
        world.log.append(Call(request.method, request.path_qs, ended, body))


async def _take(
    request: web.Request, world: World, name: str, handler: Handler
) -> web.StreamResponse:
    world.calls[name] += 1
    call = f"{request.method} {request.path}"
    fault = None if name.startswith("_") else world.faults.next(name, call, world.now())
    if fault is not None and not fault.after and (spoiled := await _spoil(request, fault)):
        return spoiled
    try:
        response = await handler(request, world)
    except Refusal as refusal:
        response = answer(refusal.body, refusal.status)
    if fault is not None and fault.after and (spoiled := await _spoil(request, fault)):
        return spoiled
    response = _compare(request, world, response)
    response.headers.update(request.get(RATE, {}))
    response.headers.setdefault("X-GitHub-Request-Id", secrets.token_hex(8).upper())
    return response


def _compare(
    request: web.Request, world: World, response: web.StreamResponse
) -> web.StreamResponse:
    """Give the ETag of what was asked for; 304 to whoever has it, which costs no call."""
    if request.method != "GET" or response.status != 200 or RATE not in request:
        return response
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    etag = f'W/"{hashlib.sha256(response.body).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        response = nothing(304)
        world.settings.rate_remaining += 1
    response.headers["ETag"] = etag
    return response


async def _spoil(request: web.Request, fault: Fault) -> web.Response | None:
    if fault.gate is not None:
        await fault.gate.wait()
    await asyncio.sleep(fault.delay)
    if fault.hang:
        await request.app[WORLD].changes.until(lambda: None, 86400)
    if (fault.drop or fault.hang) and request.transport is not None:
        request.transport.abort()
        return nothing(500)
    if fault.status:
        if isinstance(fault.body, str):
            return web.Response(text=fault.body, status=fault.status, headers=fault.headers)
        body = bodies.error(fault.status, "Ordered fault") if fault.body is None else fault.body
        return web.json_response(body, status=fault.status, headers=fault.headers)
    return None
