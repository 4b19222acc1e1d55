"""The listener: a socket that is the engine's for whoever connects, but for what it rewrites."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import structlog

from sidecar import host
from sidecar.docker.connection import Connection, Refused, RequestPolicy

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

log = structlog.get_logger()

MOST = 1024
"""Connections at a time; further ones wait to be accepted."""
MOST_HELD = 64 << 20
"""Bytes of heads and bodies that are held until they are whole, of all connections together."""
BACKLOG = 1024
_OTHER_FILES = 256
"""What the agent needs besides."""
_FILES = 4
"""Files of one connection: two sockets, and a pipe while something is on its way."""
_AT_ONCE = 64
"""Connections that are accepted in one turn of the loop."""
_PAUSE = 0.1
"""Seconds until it is accepted again after the system could not."""


class Proxy:
    """All connections."""

    def __init__(self, engine: Path, judge: RequestPolicy) -> None:
        self.engine = engine
        self.judge = judge
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.held = 0
        self.most = max(16, min(MOST, (host.most_files() - _OTHER_FILES) // _FILES))
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._accepting = False

    def dial(self) -> socket.socket:
        """Connect to the engine. Raises Refused, with what a docker client then shows."""
        try:
            return host.dialled(self.engine)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Refused(
                503, f"the docker daemon does not answer at {self.engine}: {why.lower()}"
            ) from error

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run beside, for as long as the proxy is; it tells of its own failures."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def hold(self, size: int) -> None:
        """Count what a connection holds; a negative size lets go. Raises Refused."""
        self.held += size
        if size > 0 and self.held > MOST_HELD:
            raise Refused(503, "the agent is asked for too many containers at once")

    def forget(self, connection: Connection) -> None:
        """Strike a connection off."""
        self.connections.discard(connection)
        self._accept_again()

    def listen(self, listener: socket.socket) -> None:
        """Accept from here on."""
        self._listener = listener
        self._accept_again()

    async def close(self) -> None:
        """End all."""
        self._pause()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in tuple(self.connections):
            connection.close()
        for task in (tasks := tuple(self._tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _accept_again(self) -> None:
        if self._listener is not None and not self._accepting and len(self.connections) < self.most:
            self._accepting = True
            self.loop.add_reader(self._listener.fileno(), self._accept)

    def _pause(self) -> None:
        if self._accepting and self._listener is not None:
            self._accepting = False
            self.loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        assert self._listener is not None  # noqa: S101
        for _ in range(_AT_ONCE):
            if len(self.connections) >= self.most:
                self._pause()
                return
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                log.warning("docker.accept_failed", reason=error.strerror or type(error).__name__)
                self._pause()
                self.loop.call_later(_PAUSE, self._accept_again)
                return
            sock.setblocking(False)
            self.connections.add(Connection(self, sock))


class Listening(NamedTuple):
    """A proxy that is wanted."""

    path: Path
    """Where it listens."""
    engine: Path
    """The daemon's socket."""
    judge: RequestPolicy
    user: host.Identity | None
    """Whose group may use it; None: this process's user alone."""


@asynccontextmanager
async def listening(wanted: Listening) -> AsyncIterator[Proxy]:
    """Listen for the block, and pass on to the engine. Raises OSError."""
    proxy = Proxy(wanted.engine, wanted.judge)
    proxy.listen(host.listener(wanted.path, wanted.user, BACKLOG))
    try:
        yield proxy
    finally:
        await proxy.close()
