"""Serve the control plane by the JSON 1.1 protocol."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.ecs.checks import RefusedError
from local.ecs.operations import OPERATIONS
from local.ecs.plane import ControlPlane
from local.listening import listening
from local.stories import end_stories, end_watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from local.ecs.plane import Starter
    from local.telling import Tell

TARGET = "AmazonEC2ContainerServiceV20141113."


@asynccontextmanager
async def serving(
    start: Starter,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    now: Callable[[], float] = time.time,
    tell: Tell | None = None,
) -> AsyncIterator[ControlPlane]:
    """Serve ECS; every task ends with the block. `start` starts the agent of a task.

    `tell` gets each event of a task, one after the other.
    """
    plane = ControlPlane(start, now, tell)
    async with AsyncExitStack() as stack:
        plane.url = await stack.enter_async_context(listening(partial(_answer, plane), host, port))
        watching = asyncio.create_task(plane.watch())
        stack.push_async_callback(end_watch, watching)
        stack.push_async_callback(lambda: end_stories(each.story for each in plane.tasks))
        yield plane


async def _answer(plane: ControlPlane, request: web.BaseRequest) -> web.Response:
    """Answer one request of the JSON 1.1 protocol."""
    operation = request.headers.get("X-Amz-Target", "").removeprefix(TARGET)
    try:
        document = _carry_out(plane, operation, await request.read(), request.headers)
        status = 200
    except RefusedError as error:
        status = 400
        document = {"__type": error.kind, "message": str(error), **error.members}
    await plane.ring()
    headers = {"x-amzn-requestid": str(uuid.uuid4())}
    body = json.dumps(document).encode()
    kind = "application/x-amz-json-1.1"
    return web.Response(status=status, body=body, content_type=kind, headers=headers)


def _carry_out(
    plane: ControlPlane, operation: str, body: bytes, headers: Mapping[str, str]
) -> dict[str, Any]:
    if "Authorization" not in headers:
        raise RefusedError("MissingAuthenticationTokenException", "Missing Authentication")
    if operation not in OPERATIONS:
        raise RefusedError("UnknownOperationException", f"unknown: {operation}")
    arguments = json.loads(body or b"{}")
    plane.requests.append((operation, arguments))
    return OPERATIONS[operation](plane, arguments)
