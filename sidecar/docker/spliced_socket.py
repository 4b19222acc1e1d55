"""One end of a proxied connection: a plain socket in the event loop.

There is no asyncio transport: data is passed on in the same turn of the loop, out of one buffer
that all sockets share. Data is read only when the other end can take it, so that only the rest of a
partial write is kept. A half-closed connection stays half-closed. After `splice`, the kernel moves
the data and it never enters this process (splice(2)).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from sidecar import host

if TYPE_CHECKING:
    import asyncio

PIECE = 256 * 1024
"""Bytes that are read at once."""
_SEND_BUFFER = 1 << 20
"""Bytes that the system buffers for a slow reader, while the other end goes on writing."""
_BUFFER = memoryview(bytearray(PIECE))
_SPARE_CONDUITS: list[host.SplicePipe] = []
"""Empty conduits for reuse. One is in use only while a piece is moved."""
_MAX_SPARE = 8


class SocketOwner(Protocol):
    """Is called with what happens to a socket; `data` is valid until the call returns."""

    def on_data(self, side: SplicedSocket, data: memoryview) -> None:
        """Take bytes that were read."""

    def on_end(self, side: SplicedSocket, *, peer_closed: bool) -> None:
        """Note that no more data will come. With `peer_closed` the peer reads no more either."""

    def on_full(self, side: SplicedSocket) -> None:
        """Note that the socket takes no more for now."""

    def on_drained(self, side: SplicedSocket) -> None:
        """Note that all kept data is written."""

    def on_lost(self, side: SplicedSocket) -> None:
        """Note that writing failed; what was not written is lost."""


class SplicedSocket:
    """A connected socket in the event loop."""

    __slots__ = (
        "_conduit",
        "_ending",
        "_loop",
        "_owner",
        "_pending",
        "_reading",
        "_target",
        "_write_failed",
        "closed",
        "ended",
        "sock",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, owner: SocketOwner
    ) -> None:
        self.sock = sock
        self.closed = False
        self.ended = False
        """Whether its peer has ended its data."""
        self._write_failed = False
        self._loop = loop
        self._owner = owner
        self._pending = bytearray()
        self._conduit: host.SplicePipe | None = None
        """Data that waits to be written, after `_pending`."""
        self._target: SplicedSocket | None = None
        """Where all data goes without the owner seeing it."""
        self._reading = False
        self._ending = False
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.resume()

    @property
    def is_full(self) -> bool:
        """Whether data waits to be written."""
        return bool(self._pending) or self._conduit is not None

    def splice(self, target: SplicedSocket) -> None:
        """Move all data that comes to `target`, without calling the owner."""
        self._target = target

    def resume(self) -> None:
        """Read again."""
        if not (self._reading or self.ended or self.closed):
            self._reading = True
            self._loop.add_reader(self.sock.fileno(), self._readable)

    def pause(self) -> None:
        """Stop reading for now."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.sock.fileno())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write data; the rest that the socket does not take is kept, and `on_full` is called."""
        if self.closed or self._write_failed or not data:
            return
        if not self.is_full:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._fail_writes()
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._pending += data
            self._loop.add_writer(self.sock.fileno(), self._writable)
            self._owner.on_full(self)
        else:
            self._pending += data

    def end(self) -> None:
        """Shut down writing once all kept data is written."""
        self._ending = True
        if not (self.is_full or self.closed):
            host.shut_down_writing(self.sock)

    def close(self) -> None:
        """Close the socket; kept data is dropped."""
        if self.closed:
            return
        self.pause()
        self._drop()
        self.closed = True
        self.sock.close()

    def _readable(self) -> None:
        if self._target is not None:
            if not self._target.is_full:  # else data would overtake what waits to be written
                self._splice_piece(self._target)
            return
        try:
            count = self.sock.recv_into(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self._owner.on_data(self, _BUFFER[:count])
        else:
            self._end_of_input()

    def _end_of_input(self) -> None:
        self.pause()
        self.ended = True
        self._owner.on_end(self, peer_closed=host.is_closed_by_peer(self.sock))

    def _splice_piece(self, target: SplicedSocket) -> None:
        conduit = _SPARE_CONDUITS.pop() if _SPARE_CONDUITS else host.make_splice_pipe(PIECE)
        if conduit is None:  # this system has no splice
            self._target = None
            return
        try:
            count = conduit.fill(self.sock, PIECE)
        except BlockingIOError:
            _release_conduit(conduit)
            return
        except OSError:
            count = 0
        if count:
            target.write_conduit(conduit)
        else:
            _release_conduit(conduit)
            self._end_of_input()

    def write_conduit(self, conduit: host.SplicePipe) -> None:
        """Write what is in `conduit`, as `write` does."""
        try:
            empty = self.closed or self._write_failed or conduit.drain(self.sock)
        except OSError:
            conduit.close()
            self._fail_writes()
            return
        if empty:
            _release_conduit(conduit)
            return
        self._conduit = conduit
        self._loop.add_writer(self.sock.fileno(), self._writable)
        self._owner.on_full(self)

    def _writable(self) -> None:
        try:
            if self._pending:
                del self._pending[: self.sock.send(self._pending)]
            if not self._pending and self._conduit and self._conduit.drain(self.sock):
                _release_conduit(self._conduit)
                self._conduit = None
        except BlockingIOError:
            return
        except OSError:
            self._fail_writes()
            return
        if self.is_full:
            return
        self._loop.remove_writer(self.sock.fileno())
        if self._ending:
            host.shut_down_writing(self.sock)
        self._owner.on_drained(self)

    def _fail_writes(self) -> None:
        """Drop what is to be written; the peer's own data can still be read."""
        self._write_failed = True
        self._drop()
        self._owner.on_lost(self)

    def _drop(self) -> None:
        if self.is_full:
            self._loop.remove_writer(self.sock.fileno())
        self._pending.clear()
        if self._conduit is not None:
            self._conduit.close()
            self._conduit = None


def _release_conduit(conduit: host.SplicePipe) -> None:
    """Keep an empty conduit for reuse."""
    if conduit.filled or len(_SPARE_CONDUITS) >= _MAX_SPARE:
        conduit.close()
    else:
        _SPARE_CONDUITS.append(conduit)
