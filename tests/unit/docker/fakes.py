"""What stands on both sides of the proxy in its tests: an engine on a script, and bare clients."""

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


def answer(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    """Return an engine's answer of known length."""
    lines = (b"HTTP/1.1 %d X" % status, *headers, b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def post(path: str, body: bytes = b"", *headers: bytes) -> bytes:
    """Return a client's request of known length."""
    lines = (b"POST %s HTTP/1.1" % path.encode(), b"Host: docker", *headers)
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body))) + b"\r\n\r\n" + body


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


@dataclass
class PathRegistry:
    """Stands for the relay: mints paths and remembers what became of them."""

    minted: list[str] = field(default_factory=list)
    ties: list[tuple[str, str]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)

    def mint(self) -> str:
        """Return /v2/credentials/1, and so on."""
        self.minted.append(f"/v2/credentials/{len(self.minted) + 1}")
        return self.minted[-1]

    def tied(self, path: str, container: str) -> None:
        """Remember."""
        self.ties.append((path, container))

    def revoke(self, path: str) -> None:
        """Remember."""
        self.revoked.append(path)


@dataclass
class Stage:
    """A proxy between a fake engine and the test."""

    path: Path
    engine: Path
    proxy: proxy.Proxy
    paths: PathRegistry
    heard: list[bytes]
    """What each connection brought to the engine."""
    images: dict[str, list[str]]
    """The variables of images."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as a client."""
        return await asyncio.open_unix_connection(self.path, limit=1 << 22)

    async def say(self, *pieces: bytes) -> bytes:
        """Send, end, and return all that comes back."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        back = await reader.read()
        writer.close()
        return back


@asynccontextmanager
async def staged(
    folder: Path,
    script: Script,
    *,
    serve: bool = True,
    limit: int | None = None,
    **rules: object,
):
    """Put a proxy before an engine that does what `script` says with each connection."""
    engine, path, paths, heard = folder / "engine.sock", folder / "docker.sock", PathRegistry(), []
    images: dict[str, list[str]] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(bytes(reader._buffer))  # type: ignore[attr-defined]  # it may be there already
        number = len(heard) - 1
        feed = reader.feed_data

        def seen(data: bytes) -> None:
            heard[number] += data
            feed(data)

        reader.feed_data = seen  # type: ignore[method-assign]
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def image_variables(name: str) -> list[str]:
        return images.get(name, [])

    policy = RequestRewriter(
        Sockets.of(str(path), str(engine)),
        CredentialVariables("eu-central-1", paths.mint),
        paths,
        image_variables,
        **rules,
    )
    server = await asyncio.start_unix_server(connected, engine, limit=1 << 22)
    if not serve:
        server.close()
    try:
        async with proxy.serve(proxy.ProxyOptions(path, engine, policy, None)) as serving:
            serving.most = limit or serving.most
            yield Stage(path, engine, serving, paths, heard, images)
    finally:
        server.close()


async def pinged(path: Path) -> bytes:
    """Ask by the socket at `path`; return the answer's first line."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(post("/_ping"))
    line = await reader.readline()
    writer.close()
    return line


async def request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one request of known length, or chunked; return head and body."""
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


async def obliging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request: a create with an id, all else with its own body."""
    while not reader.at_eof():
        try:
            head, body = await request(reader)
        except asyncio.IncompleteReadError:
            break
        created = head.split()[1].endswith((b"/containers/create", b"create?name=x"))
        writer.write(answer(201, CREATED) if created else answer(200, body))
        await writer.drain()
    writer.close()
