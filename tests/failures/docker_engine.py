"""Run a stand-in for the docker engine that fails at one request, in the way of a fault."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sidecar.docker.engine_view import PROBE_IMAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

MADE = "2026-11-26T21:00:00Z"
_CARRIED_OUT = ("time-out", "reset", "malformed")
"""Faults that lose the answer alone."""
_TIMES = {**dict.fromkeys(_CARRIED_OUT, 1), "5xx": 2}
"""The number of times that a fault is met; the others last."""


class FailingEngine:
    """An engine that knows containers and volumes, and what to fail at."""

    def __init__(self, match: Mapping[str, Any], fault: str) -> None:
        self.applied = 0
        """The number of times that the fault was met."""
        self.left: set[str] = set()
        """The objects that there are."""
        self._match = match
        self._fault = fault
        self._away = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while not self._away:
                # One request after the other, as the engine reads them.
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                method, target = head.split()[:2]
                await self._answer(method, target, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the stage is at its end; asyncio's streams would report it as an error
        finally:
            writer.close()

    async def _answer(
        self, method: str, target: str, body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        fails = method == self._match["method"] and re.search(self._match["path"], target)
        self.applied += bool(fails)
        if target.startswith("/events"):
            writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")
            await asyncio.Event().wait()  # nothing happens
        if not fails or self.applied > _TIMES.get(self._fault, self.applied):
            await _write(writer, *self._carry_out(method, target, body))
        else:
            await self._fail(method, target, body, writer)

    async def _fail(
        self, method: str, target: str, body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        if self._fault in _CARRIED_OUT:
            self._carry_out(method, target, body)
        match self._fault:
            case "5xx":
                await _write(writer, 500, {"message": "no"})
            case "404":
                await _write(writer, 404, {"message": "no such object"})
            case "malformed":
                await _write(writer, 200, b"<html>")
            case "reset":
                writer.transport.abort()
            case "away":
                self._away = True
                writer.transport.abort()
            case _:
                await asyncio.Event().wait()

    def _carry_out(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        """Do what is asked; return status and body of the answer."""
        url = urlsplit(target)
        kind, _, name = url.path.strip("/").partition("/")
        match method, name:
            case "POST", "create" if PROBE_IMAGE.encode() in body:
                return 404, {"message": "no such image"}  # the agent asks what the engine sees
            case "POST", "create":
                made = json.loads(body).get("Name") or secrets.token_hex(32)
                self.left.add(made)
                return 201, {"Id": made, "Name": made, "CreatedAt": MADE}
            case "DELETE", _:
                found = name in self.left
                self.left.discard(name)
                return (204, None) if found else (404, {"message": "no such object"})
            case "GET", "json":
                wanted = json.loads(parse_qs(url.query)["filters"][0]).get("id", ())
                return 200, [{"Id": one, "State": "created"} for one in wanted if one in self.left]
            case "GET", _ if name.removesuffix("/json") in self.left:
                return 200, {"Id": name.removesuffix("/json"), "CreatedAt": MADE, "HostConfig": {}}
            case "POST", _ if name.endswith("/start"):
                return 204, None
        return (200, []) if kind == "networks" else (404, {"message": "no such object"})


async def _write(writer: asyncio.StreamWriter, status: int, body: Any) -> None:
    text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(text)
    writer.write(b"HTTP/1.1 %d X\r\n%s\r\n%s" % (status, length, text))
    await writer.drain()


@asynccontextmanager
async def serving(path: Path, match: Mapping[str, Any], fault: str) -> AsyncIterator[FailingEngine]:
    """Serve such an engine at a socket."""
    engine, tasks = FailingEngine(match, fault), set()

    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        await engine.serve(reader, writer)

    server = await asyncio.start_unix_server(on_client, path)
    try:
        yield engine
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
