"""Fakes for both sides of the proxy: an engine that runs a script, and plain clients."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.docker import proxy
from sidecar.docker.binds import Sockets
from sidecar.docker.credential_variables import CredentialVariables
from sidecar.docker.engine import Engine
from sidecar.docker.engine_view import PROBE_IMAGE
from sidecar.docker.rewriting import RequestRewriter
from tests.support.servers import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ID = "c" * 64
CREATED = b'{"Id":"%s","Warnings":[]}\n' % ID.encode()


NO_IMAGE = b'{"message":"No such image: x"}'


def is_probe(body: bytes) -> bool:
    """Return whether a create request only asks what the engine sees: there is no such image."""
    return PROBE_IMAGE.encode() in body


def answer_probe(body: bytes, seen: str) -> bytes:
    """Answer as an engine on a machine that has the agent's files in the folder `seen` alone."""
    (mount,) = json.loads(body)["HostConfig"]["Mounts"]
    source = Path(mount["Source"])
    if source.is_relative_to(seen) and source.exists():
        return response(404, NO_IMAGE)
    words = f'invalid mount config for type "bind": bind source path does not exist: {source}'
    return response(400, json.dumps({"message": words}).encode())


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
    starting: int = 0

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

    def begin_start(self) -> None:
        """Record that a container is being started."""
        self.starting += 1

    def end_start(self) -> None:
        """Record that the engine has answered."""
        self.starting -= 1


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
    async with serving(on_client, engine, limit=1 << 22) as server:
        if not engine_listens:
            server.close()
        async with proxy.serve(proxy.ProxyOptions(path, engine, policy, None)) as running:
            running.max_connections = limit or running.max_connections
            yield ProxyStage(path, engine, running, paths, received, images)


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
        if is_probe(body):
            writer.write(response(404, NO_IMAGE))
            continue
        if head.startswith(b"GET /containers/json"):
            body = b"[]"
        created = head.split()[1].endswith((b"/containers/create", b"create?name=x"))
        writer.write(response(201, CREATED) if created else response(200, body))
        await writer.drain()
    writer.close()


def read_body(received: bytes) -> dict[str, object]:
    """Return the body of the last request that the engine received."""
    return json.loads(received.rpartition(b"\r\n\r\n")[2])


def read_variables(received: bytes) -> dict[str, str]:
    """Return the variables in the last create request that the engine received."""
    return dict(entry.split("=", 1) for entry in read_body(received)["Env"])


async def hijack(reader, writer):
    """Act as an engine that attaches: send all data back, and report the end of data."""
    head, _ = await read_request(reader)
    upgraded = b"Upgrade" in head
    writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n" if upgraded else b"HTTP/1.1 200 OK\r\n\r\n")
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write(b"end")


async def write_and_drain(writer, data):
    """Write all data, and wait until it is taken."""
    writer.write(data)
    await writer.drain()


async def wait_until_empty(serving: proxy.Proxy) -> None:
    """Wait until the proxy has no connection left."""
    while serving.connections:
        done = asyncio.get_running_loop().create_future()
        forget = serving.forget

        def on_forget(known, done=done, forget=forget):
            forget(known)
            if not done.done():
                done.set_result(None)

        serving.forget = on_forget
        await asyncio.wait_for(done, 60)
        serving.forget = forget


@asynccontextmanager
async def fake_engine(folder: Path, responses: dict[str, object]):
    """Answer these paths on a socket; the answer to /events is a list of lines."""
    requests: asyncio.Queue[str] = asyncio.Queue()

    async def on_client(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1].partition("?")[0]
        requests.put_nowait(path)
        answer = responses.get(path)
        if answer is None:
            writer.write(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
        elif isinstance(answer, list) and path == "/events":
            writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + b"".join(answer))
        else:
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    path = folder / "docker.sock"
    async with serving(on_client, path):
        yield Engine(f"unix://{path}"), requests


def run_bounded(work):
    """Run a coroutine to its end, for at most 120 s."""
    return asyncio.run(asyncio.wait_for(work, 120))
