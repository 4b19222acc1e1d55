"""Stand between a function and AWS, and write down each call with its arguments."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from local.ec2.protocol import read_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

HOP = {"connection", "content-length", "host", "transfer-encoding", "content-encoding"}
_SIGNED_BY = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")


@dataclass(frozen=True)
class Call:
    """One call of AWS."""

    target: str
    """The operation as X-Amz-Target says it, `AmazonSSM.GetParameter`, also for other services."""
    arguments: dict[str, Any]
    status: int
    key: str = ""
    """The access key that signed it."""


class Recorder:
    """Passes calls on, and keeps them."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.lost: set[str] = set()
        """Targets whose next answer gets lost."""
        self._upstream = upstream
        self._session = session

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Pass one call on."""
        body = await request.read()
        headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP}
        async with self._session.request(
            request.method, self._upstream + request.raw_path, data=body, headers=headers
        ) as answer:
            content = await answer.read()
            back = {key: val for key, val in answer.headers.items() if key.lower() not in HOP}
        call = read_call(request, body, answer.status)
        self.calls.append(call)
        if call.target in self.lost and request.transport:
            self.lost.remove(call.target)
            request.transport.close()
        return web.Response(status=answer.status, body=content, headers=back)


def read_call(request: web.BaseRequest, body: bytes, status: int) -> Call:
    """Read which call a request is: JSON with a target in its head, or a form."""
    signed = _SIGNED_BY.search(request.headers.get("Authorization", ""))
    key, service = signed.groups() if signed else ("", "")
    target = request.headers.get("X-Amz-Target")
    if target is not None:
        return Call(target, json.loads(body or b"{}"), status, key)
    form = dict(parse_qsl(body.decode(errors="replace")))
    operation = form.get("Action", "")
    match service:
        case "ec2":
            return Call(f"AmazonEC2.{operation}", read_request(operation, form), status, key)
        case "sts":
            target = f"AWSSecurityTokenService.{operation}"
            return Call(target, {**form, "Tags": _read_tags(form)}, status, key)
    return Call(f"{request.method} {request.raw_path}", {}, status, key)


def _read_tags(form: Mapping[str, str]) -> dict[str, str]:
    keys = [name for name in form if re.fullmatch(r"Tags\.member\.\d+\.Key", name)]
    return {form[name]: form[name.removesuffix("Key") + "Value"] for name in keys}


@asynccontextmanager
async def recording(upstream: str) -> AsyncIterator[Recorder]:
    """Serve a recorder in front of `upstream`."""
    async with aiohttp.ClientSession() as session:
        recorder = Recorder(upstream, session)
        server = web.Server(recorder.answer, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield recorder
        finally:
            await runner.cleanup()
