"""One end of a spliced connection: a bare socket, read into one buffer that all share.

No transport: what comes is handed on in the same turn of the loop, nothing is read that could not
be written, and half-closing stays what it is. Nothing is held but what a full socket did not take.
Once nobody looks at what comes it does not come here at all: the kernel hands the pages over.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from sidecar import host

if TYPE_CHECKING:
    import asyncio

PIECE = 256 * 1024
"""Bytes that are read at once."""
_AHEAD = 1 << 20
"""Bytes that the system is asked to hold for a slow reader: the other end writes on meanwhile."""
_BUFFER = memoryview(bytearray(PIECE))
_SPARE: list[host.Conduit] = []
"""Empty conduits: one is in use only while a piece is on its way."""
_MOST_SPARE = 8


class Owner(Protocol):
    """Who is told of what happens at a side; `data` is good until the call returns."""

    def came(self, side: SplicedSocket, data: memoryview) -> None:
        """Take bytes."""

    def finished(self, side: SplicedSocket, *, gone: bool) -> None:
        """Hear that no more will come; `gone`: nor is anything taken any more."""

    def full(self, side: SplicedSocket) -> None:
        """Hear that it takes no more for now."""

    def drained(self, side: SplicedSocket) -> None:
        """Hear that it has taken all."""

    def lost(self, side: SplicedSocket) -> None:
        """Hear that it takes nothing any more, and what it had not taken is lost."""


class SplicedSocket:
    """A connected socket, within the loop."""

    __slots__ = (
        "_conduit",
        "_deaf",
        "_ending",
        "_loop",
        "_owner",
        "_pending",
        "_reading",
        "_target",
        "closed",
        "ended",
        "sock",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, owner: Owner) -> None:
        self.sock = sock
        self.closed = False
        self.ended = False
        """Whether no more will come from it."""
        self._deaf = False
        self._loop = loop
        self._owner = owner
        self._pending = bytearray()
        self._conduit: host.Conduit | None = None
        """What else waits to be taken, behind `_pending`."""
        self._target: SplicedSocket | None = None
        """Where all goes that comes, unseen."""
        self._reading = False
        self._ending = False
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AHEAD)
        self.resume()

    @property
    def is_full(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._pending) or self._conduit is not None

    def splice(self, target: SplicedSocket) -> None:
        """Hand on all that comes to `target`, without showing it to the owner."""
        self._target = target

    def resume(self) -> None:
        """Read on."""
        if not (self._reading or self.ended or self.closed):
            self._reading = True
            self._loop.add_reader(self.sock.fileno(), self._readable)

    def pause(self) -> None:
        """Read no more for now."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.sock.fileno())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; what is not taken at once is kept, and `full` says so."""
        if self.closed or self._deaf or not data:
            return
        if not self.is_full:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._hears_no_more()
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
            self._pending += data
            self._loop.add_writer(self.sock.fileno(), self._writable)
            self._owner.full(self)
        else:
            self._pending += data

    def end(self) -> None:
        """Send no more, once all is sent."""
        self._ending = True
        if not (self.is_full or self.closed):
            host.shut_writing(self.sock)

    def close(self) -> None:
        """Let go of the socket, whatever is still to be sent."""
        if self.closed:
            return
        self.pause()
        self._drop()
        self.closed = True
        self.sock.close()

    def _readable(self) -> None:
        if self._target is not None:
            if not self._target.is_full:  # or what is read would come before what waits
                self._splice(self._target)
            return
        try:
            count = self.sock.recv_into(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self._owner.came(self, _BUFFER[:count])
        else:
            self._finished()

    def _finished(self) -> None:
        self.pause()
        self.ended = True
        self._owner.finished(self, gone=host.hung_up(self.sock))

    def _splice(self, target: SplicedSocket) -> None:
        conduit = _SPARE.pop() if _SPARE else host.conduit(PIECE)
        if conduit is None:  # not with this system
            self._target = None
            return
        try:
            count = conduit.fill(self.sock, PIECE)
        except BlockingIOError:
            _spare(conduit)
            return
        except OSError:
            count = 0
        if count:
            target.pour(conduit)
        else:
            _spare(conduit)
            self._finished()

    def pour(self, conduit: host.Conduit) -> None:
        """Send what is in `conduit`, as `write` does."""
        try:
            empty = self.closed or self._deaf or conduit.drain(self.sock)
        except OSError:
            conduit.close()
            self._hears_no_more()
            return
        if empty:
            _spare(conduit)
            return
        self._conduit = conduit
        self._loop.add_writer(self.sock.fileno(), self._writable)
        self._owner.full(self)

    def _writable(self) -> None:
        try:
            if self._pending:
                del self._pending[: self.sock.send(self._pending)]
            if not self._pending and self._conduit and self._conduit.drain(self.sock):
                _spare(self._conduit)
                self._conduit = None
        except BlockingIOError:
            return
        except OSError:
            self._hears_no_more()
            return
        if self.is_full:
            return
        self._loop.remove_writer(self.sock.fileno())
        if self._ending:
            host.shut_writing(self.sock)
        self._owner.drained(self)

    def _hears_no_more(self) -> None:
        """Drop what is to be sent; what it has said itself can still be read."""
        self._deaf = True
        self._drop()
        self._owner.lost(self)

    def _drop(self) -> None:
        if self.is_full:
            self._loop.remove_writer(self.sock.fileno())
        self._pending.clear()
        if self._conduit is not None:
            self._conduit.close()
            self._conduit = None


def _spare(conduit: host.Conduit) -> None:
    """Keep an empty conduit for the next piece."""
    if conduit.filled or len(_SPARE) >= _MOST_SPARE:
        conduit.close()
    else:
        _SPARE.append(conduit)
