"""Listen for docker clients, and connect each of them to the engine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sidecar import host
from sidecar.docker.connection import Connection, RequestPolicy, RequestRefused
from sidecar.net.file_budget import divide_files

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

log = structlog.get_logger()

MAX_HELD = 64 << 20
"""Bytes of incomplete heads and bodies, of all connections together."""
BACKLOG = 1024
_FILES_EACH = 4
"""File descriptors of one connection: two sockets, and a pipe while data is spliced."""
_ACCEPTS_AT_ONCE = 64
"""Connections that are accepted in one turn of the loop."""
_ACCEPT_PAUSE = 0.1
"""Seconds until the next accept after one has failed."""


class Proxy:
    """The proxy's listening socket, and all its connections."""

    def __init__(self, engine: Path, policy: RequestPolicy) -> None:
        self.engine = engine
        self.policy = policy
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.held = 0
        self.max_connections = max(1, divide_files(host.max_open_files()).proxy // _FILES_EACH)
        """Connections at a time; further clients wait to be accepted."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accepting = False
        self._accept_error: str | None = None
        """The reason why the last try failed."""

    def connect_engine(self) -> socket.socket:
        """Connect to the engine. Raises RequestRefused, whose text the docker client shows."""
        try:
            return host.connect_to(self.engine)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise RequestRefused(
                503, f"the docker daemon does not answer at {self.engine}: {reason.lower()}"
            ) from error

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` in a task that ends with the proxy; `work` logs its own errors."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def count_held(self, size: int) -> None:
        """Add to the count of held bytes; a negative size subtracts. Raises RequestRefused."""
        self.held += size
        if size > 0 and self.held > MAX_HELD:
            raise RequestRefused(503, "the agent is asked for too many containers at once")

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection, and accept again if it was one too many."""
        self.connections.discard(connection)
        self._accept_again()

    def listen(self, listener: socket.socket) -> None:
        """Begin to accept clients on `listener`."""
        self._listener = listener
        self._accept_again()

    async def close(self) -> None:
        """Close the listener and all connections, and cancel all tasks."""
        self._pause()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in tuple(self.connections):
            connection.abort()
        for task in (tasks := tuple(self._tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _accept_again(self) -> None:
        full = len(self.connections) >= self.max_connections
        if self._listener is not None and not self._accepting and not full:
            self._accepting = True
            self.loop.add_reader(self._listener.fileno(), self._accept)

    def _pause(self) -> None:
        if self._accepting and self._listener is not None:
            self._accepting = False
            self.loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101
        for _ in range(_ACCEPTS_AT_ONCE):
            if len(self.connections) >= self.max_connections:
                self._pause()
                return
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                reason = error.strerror or type(error).__name__
                if reason != self._accept_error:  # not at each of its tries, ten in a second
                    log.warning("docker.accept_failed", reason=reason)
                self._accept_error = reason
                self._pause()
                self.loop.call_later(_ACCEPT_PAUSE, self._accept_again)
                return
            self._accept_error = None
            sock.setblocking(False)
            self.connections.add(Connection(self, sock))


class ProxyOptions(NamedTuple):
    """The options of `serve`."""

    path: Path
    """The socket to listen at."""
    engine: Path
    """The engine's socket."""
    policy: RequestPolicy
    user: host.User | None
    """The user whose group may connect; None: only this process's user."""


@asynccontextmanager
async def serve(options: ProxyOptions) -> AsyncIterator[Proxy]:
    """Run the proxy within the block. Raises OSError if it cannot listen."""
    proxy = Proxy(options.engine, options.policy)
    proxy.listen(host.listen_at(options.path, options.user, BACKLOG))
    try:
        yield proxy
    finally:
        await proxy.close()
