"""Stand between a function and AWS, and write down each call with its arguments."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOP = {"connection", "content-length", "host", "transfer-encoding", "content-encoding"}


@dataclass(frozen=True)
class Call:
    """One call of AWS."""

    target: str
    """The value of X-Amz-Target: `AmazonSSM.GetParameter`."""
    arguments: dict[str, Any]
    status: int


class Recorder:
    """Passes calls on, and keeps them."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.calls: list[Call] = []
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
            target = request.headers.get("X-Amz-Target", f"{request.method} {request.raw_path}")
            arguments = json.loads(body or b"{}") if "X-Amz-Target" in request.headers else {}
            self.calls.append(Call(target, arguments, answer.status))
            return web.Response(status=answer.status, body=content, headers=back)


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
