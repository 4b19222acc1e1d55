"""Fakes for both sides of the proxy: an engine that runs a script, and plain clients."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sidecar.docker import proxy
from sidecar.docker.binds import Sockets
from sidecar.docker.credential_variables import CredentialVariables
from sidecar.docker.rewriting import RequestRewriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ID = "c" * 64
CREATED = b'{"Id":"%s","Warnings":[]}\n' % ID.encode()


def response(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    """Return a response of the engine with a Content-Length."""
    lines = (b"HTTP/1.1 %d X" % status, *headers, b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post(path: str, body: bytes = b"", *headers: bytes) -> bytes:
    """Return a client's request with a Content-Length."""
    lines = (b"POST %s HTTP/1.1" % path.encode(), b"Host: docker", *headers)
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body))) + b"\r\n\r\n" + body


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


@dataclass
class FakePaths:
    """A fake of the relay: mints paths and records what becomes of them."""

    minted: list[str] = field(default_factory=list)
    assigned: list[tuple[str, str]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)

    def mint(self) -> str:
        """Return /v2/credentials/1, and so on."""
        self.minted.append(f"/v2/credentials/{len(self.minted) + 1}")
        return self.minted[-1]

    def assign(self, path: str, container: str) -> None:
        """Record an assigned path."""
        self.assigned.append((path, container))

    def revoke(self, path: str) -> None:
        """Record a revoked path."""
        self.revoked.append(path)


@dataclass
class ProxyStage:
    """A running proxy between a fake engine and the test."""

    path: Path
    engine: Path
    proxy: proxy.Proxy
    paths: FakePaths
    received: list[bytes]
    """The data that the engine received, for each connection."""
    images: dict[str, list[str]]
    """The variables of each image."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as a client."""
        return await asyncio.open_unix_connection(self.path, limit=1 << 22)

    async def send(self, *pieces: bytes) -> bytes:
        """Send the pieces, end the data, and return all that comes back."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        back = await reader.read()
        writer.close()
        return back


@asynccontextmanager
async def start_stage(
    folder: Path,
    script: Script,
    *,
    engine_listens: bool = True,
    limit: int | None = None,
    **options: object,
):
    """Run a proxy for an engine that runs `script` for each connection."""
    engine, path, paths, received = folder / "engine.sock", folder / "docker.sock", FakePaths(), []
    images: dict[str, list[str]] = {}

    async def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(bytes(reader._buffer))  # type: ignore[attr-defined]  # it may be there already
        number = len(received) - 1
        feed = reader.feed_data

        def record(data: bytes) -> None:
            received[number] += data
            feed(data)

        reader.feed_data = record  # type: ignore[method-assign]
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def read_image_variables(name: str) -> list[str]:
        return images.get(name, [])

    policy = RequestRewriter(
        Sockets.from_paths(str(path), str(engine)),
        CredentialVariables("eu-central-1", paths.mint),
        paths,
        read_image_variables,
        **options,
    )
    server = await asyncio.start_unix_server(on_client, engine, limit=1 << 22)
    if not engine_listens:
        server.close()
    try:
        async with proxy.serve(proxy.ProxyOptions(path, engine, policy, None)) as serving:
            serving.max_connections = limit or serving.max_connections
            yield ProxyStage(path, engine, serving, paths, received, images)
    finally:
        server.close()


async def ping(path: Path) -> bytes:
    """Ping through the socket at `path`; return the response's first line."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(post("/_ping"))
    line = await reader.readline()
    writer.close()
    return line


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request with a Content-Length or chunks; return head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    if fields.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return head, body
    return head, await reader.readexactly(int(fields.get(b"content-length", b"0")))


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a create request with an id, and every other request with its own body."""
    while not reader.at_eof():
        try:
            head, body = await read_request(reader)
        except asyncio.IncompleteReadError:
            break
        created = head.split()[1].endswith((b"/containers/create", b"create?name=x"))
        writer.write(response(201, CREATED) if created else response(200, body))
        await writer.drain()
    writer.close()
