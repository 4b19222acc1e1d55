"""The engine's answer to one request, followed to its end."""

from __future__ import annotations

from sidecar.docker import heads
from sidecar.docker.bodies import Body, Endless, Misframed

_PIECE = 16 * 1024


class Reply:
    """What comes from the engine after a request."""

    def __init__(self, method: str, *, seen: bool) -> None:
        self.status = 0
        self.begun = False
        self.done = False
        self.endless = False
        """Whether it goes on to the end of the connection, in both directions: a hijacked one."""
        self.seen = bytearray() if seen else None
        """Its body, if that is wanted."""
        self.method = method
        self._head = bytearray()
        self._body: Body | None = None

    def take(self, data: memoryview) -> int:
        """Return how many bytes belong to it; once it is endless, all that come after do."""
        self.begun = True
        at = 0
        while at < len(data) and not (self.done or self.endless):
            at += self._take_head(data[at:]) if self._body is None else self._take_body(data[at:])
        return at

    def _take_head(self, data: memoryview) -> int:
        before = len(self._head)
        piece = data[:_PIECE]
        self._head += piece
        end = heads.end(self._head, before)
        if end < 0:
            self.endless = len(self._head) > heads.MOST
            return len(piece)
        found = heads.response(bytes(self._head[:end]), self.method)
        self._head.clear()
        if not found.interim:
            self.status, self._body = found.status, found.body
            self.endless, self.done = isinstance(found.body, Endless), found.body.done
        return end - before

    def _take_body(self, data: memoryview) -> int:
        body = self._body
        assert body is not None  # noqa: S101
        try:
            taken = body.take(data, self.seen)
        except Misframed:  # the client will see
            self.endless = True
            return len(data)
        self.done = body.done
        return taken
