"""Run a proxy by which clients reach every host by CONNECT, as a company's network has it.

Whatever host is asked for, the connection goes to one address: so a stand-in may be github.com.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class ForwardProxy:
    """The running proxy."""

    target: tuple[str, int]
    """Where every connection ends."""
    url: str = ""
    mode: Literal["", "swallow", "refuse"] = ""
    """It never answers, or wants a password that nobody has given."""
    blocked: set[str] = field(default_factory=set)
    """Hosts that it does not let through."""
    hosts: list[str] = field(default_factory=list)
    """The hosts that were asked for, oldest first."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            host = await _read_host(reader)
            self.hosts.append(host)
            if self.mode == "swallow":
                await reader.read()  # until the client gives up
            elif self.mode == "refuse":
                await _refuse(writer, "407 Proxy Authentication Required")
            elif host in self.blocked:
                await _refuse(writer, "403 Forbidden")
            else:
                await self._connect(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the block did
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self.target)
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))
        finally:
            server_writer.close()


async def _read_host(reader: asyncio.StreamReader) -> str:
    """Read `CONNECT host:port HTTP/1.1`, and the headers that follow; return the host."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split()[1].decode().rpartition(":")[0]


async def _refuse(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def serving(target: tuple[str, int]) -> AsyncIterator[ForwardProxy]:
    """Serve the proxy until the block is left."""
    proxy = ForwardProxy(target)
    running: set[asyncio.Task[None]] = set()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.url = f"http://{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
