"""Serve connections by a function of a test's own, and leave none of them open.

A connection that a test leaves open is collected during a later one, which fails by the warning.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(
    answer: Answer, path: Path | None = None, host: str = "127.0.0.1", port: int = 0, **more: Any
) -> AsyncIterator[asyncio.Server]:
    """Answer each connection, at a Unix socket or at an address; yield the server.

    A client that leaves too early is no error. The block's end ends every answer.
    """
    connections = _Connections(answer)
    if path is None:
        server = await asyncio.start_server(connections.take, host, port, **more)
    else:
        server = await asyncio.start_unix_server(connections.take, path, **more)
    try:
        yield server
    finally:
        await connections.end(server, _trust_anybody() if "ssl" in more else None)


class _Connections:
    """All connections that a server took, and the tasks that answer them."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._writers: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._ending = False

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._writers[task] = writer
        if self._ending:
            writer.close()
            return
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    async def end(self, server: asyncio.Server, tls: ssl.SSLContext | None) -> None:
        """Close all of them; a client need not have read its answer."""
        self._ending = True
        # Connections are taken in their order: after one more there is none that is yet unknown.
        for listening in server.sockets[:1]:
            with suppress(OSError):  # its path may have been removed
                await _connect_once(listening.getsockname(), tls)
        server.close()
        for task, writer in self._writers.items():
            with suppress(AttributeError):  # of CPython 3.11, where it has sent the rest and ended
                writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)
        closings = [writer.wait_closed() for writer in self._writers.values()]
        await asyncio.gather(*closings, return_exceptions=True)


def _trust_anybody() -> ssl.SSLContext:
    """Return what a client needs to end the handshake, without which a connection is not taken."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _connect_once(address: Any, tls: ssl.SSLContext | None) -> None:
    if isinstance(address, (str, bytes)):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address[:2], ssl=tls)
    try:
        await reader.read()
    finally:
        writer.close()
