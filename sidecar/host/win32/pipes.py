"""Serve a named pipe, and close every connection to it in the end."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

FOLDER = "\\\\.\\pipe\\"
"""Where named pipes are; not on any disk."""
CLOSE_TIMEOUT = 0.5
"""Seconds for the connections to end when the pipe is closed."""


class Reply:
    """The way back to the client of one connection."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport

    def send(self, content: bytes) -> None:
        """Send `content`; a client that is gone gets nothing."""
        if not self._transport.is_closing():
            self._transport.write(content)


class _Connection(asyncio.Protocol):
    """One client; its bytes are collected, up to a limit."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pipe.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if len(self._received) <= self._pipe.most:
            self._received += data
            self._pipe.on_data(bytes(self._received), Reply(self._transport))

    def connection_lost(self, _: Exception | None) -> None:
        self._pipe.connections.discard(self)
        if not self._pipe.connections and self._pipe.emptied is not None:
            self._pipe.emptied.set()

    def close(self) -> None:
        self._transport.abort()


class _Pipe:
    """What the connections of one pipe share."""

    def __init__(self, most: int, on_data: Callable[[bytes, Reply], None]) -> None:
        self.most = most
        self.on_data = on_data
        self.connections: set[_Connection] = set()
        self.emptied: asyncio.Event | None = None


@asynccontextmanager
async def serve_pipe(most: int, on_data: Callable[[bytes, Reply], None]) -> AsyncIterator[str]:
    """Serve a named pipe of a new name within the block; yield that name, without its folder.

    `on_data` gets all that one client has sent so far, each time that more of it arrives, until it
    is more than `most` bytes. Raises OSError.
    """
    name = f"runner-sidecar-{secrets.token_hex(8)}"
    pipe = _Pipe(most, on_data)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.ProactorEventLoop)  # noqa: S101  no other loop has pipes
    make: Any = lambda: _Connection(pipe)  # noqa: E731  typeshed allows only a stream's protocol
    servers = await loop.start_serving_pipe(make, FOLDER + name)
    try:
        await asyncio.sleep(0)  # now it is listened to: a client that came before would be lost
        yield name
    finally:
        for server in servers:
            server.close()
        # A transport that is not closed, or whose end is not waited for, complains at its deletion.
        if pipe.connections:
            pipe.emptied = asyncio.Event()
            for connection in tuple(pipe.connections):
                connection.close()
            await asyncio.wait([asyncio.create_task(pipe.emptied.wait())], timeout=CLOSE_TIMEOUT)
