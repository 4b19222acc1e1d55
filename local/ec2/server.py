"""Serve the control plane by EC2's query protocol."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from aiohttp import web

from local.ec2.checks import RefusedError
from local.ec2.droughts import TEXTS
from local.ec2.operations import OPERATIONS
from local.ec2.plane import ControlPlane
from local.ec2.protocol import read_request, write_answer, write_error
from local.listening import listening
from local.stories import end_stories, end_watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from local.ec2.machines import Machine, Program
    from local.telling import Tell


async def run_for_ever(machine: Machine) -> None:
    """Run until somebody ends the machine: it hangs."""
    del machine
    await asyncio.Event().wait()


@asynccontextmanager
async def serving(
    program: Program = run_for_ever,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    now: Callable[[], float] = time.time,
    tell: Tell | None = None,
) -> AsyncIterator[ControlPlane]:
    """Serve EC2; every machine ends with the block.

    `program` is what each machine runs: when it returns, the machine shuts down. `tell` gets each
    event of a machine, one after the other.
    """
    plane = ControlPlane(program, now, tell)
    async with AsyncExitStack() as stack:
        plane.url = await stack.enter_async_context(listening(partial(_answer, plane), host, port))
        watching = asyncio.create_task(plane.watch())
        stack.push_async_callback(end_watch, watching)
        stack.push_async_callback(lambda: end_stories(each.story for each in plane.machines))
        yield plane


async def _answer(plane: ControlPlane, request: web.BaseRequest) -> web.Response:
    """Answer one request."""
    form = dict(parse_qsl((await request.read()).decode(), keep_blank_values=True))
    operation, id_ = form.get("Action", ""), str(uuid.uuid4())
    try:
        body, status = _carry_out(plane, operation, form, request.headers, id_), 200
    except RefusedError as error:
        body, status = write_error(error.code, str(error), id_), error.status
    await plane.ring()
    return web.Response(status=status, body=body, content_type="text/xml")


def _carry_out(
    plane: ControlPlane,
    operation: str,
    form: Mapping[str, str],
    headers: Mapping[str, str],
    request: str,
) -> bytes:
    if "Authorization" not in headers:
        raise RefusedError("MissingAuthenticationToken", "Request is missing Authentication Token")
    if operation not in OPERATIONS:
        raise RefusedError("InvalidAction", f"The action {operation} is not valid")
    if plane.throttles.get(operation, 0) > 0:
        plane.throttles[operation] -= 1
        raise RefusedError("RequestLimitExceeded", TEXTS["RequestLimitExceeded"], 503)
    try:
        arguments = read_request(operation, form)
    except ValueError as error:
        raise RefusedError("UnknownParameter", str(error)) from error
    plane.requests.append((operation, arguments))
    plane.account = plane.find_account(_read_key(headers["Authorization"]))
    answer = OPERATIONS[operation](plane, arguments)
    return write_answer(operation, answer, request)


def _read_key(authorization: str) -> str:
    """Return the access key that signed a request."""
    return authorization.partition("Credential=")[2].partition("/")[0]
