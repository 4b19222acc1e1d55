"""Follow the engine's response to one request up to its end."""

from __future__ import annotations

from sidecar.docker import heads
from sidecar.docker.bodies import Body, FramingError, UntilCloseBody

_PIECE = 16 * 1024


class Response:
    """The engine's response to one request."""

    def __init__(self, method: str, *, keep_body: bool) -> None:
        self.status = 0
        self.started = False
        self.done = False
        self.until_close = False
        """Whether it ends with the connection. A hijacked connection looks like this too."""
        self.body = bytearray() if keep_body else None
        """The body that has come so far, if it is kept."""
        self.method = method
        self._head = bytearray()
        self._framing: Body | None = None

    def take(self, data: memoryview) -> int:
        """Return how many bytes of `data` belong to the response.

        If it has no end of its own (`until_close`), all later bytes belong to it too.
        """
        self.started = True
        at = 0
        while at < len(data) and not (self.done or self.until_close):
            take = self._take_head if self._framing is None else self._take_body
            at += take(data[at:])
        return at

    def _take_head(self, data: memoryview) -> int:
        before = len(self._head)
        piece = data[:_PIECE]
        self._head += piece
        end = heads.find_end(self._head, before)
        if end < 0:
            self.until_close = len(self._head) > heads.MAX_HEAD
            return len(piece)
        head = heads.parse_response(bytes(self._head[:end]), self.method)
        self._head.clear()
        if not head.interim:
            self.status, self._framing = head.status, head.body
            self.until_close, self.done = isinstance(head.body, UntilCloseBody), head.body.done
        return end - before

    def _take_body(self, data: memoryview) -> int:
        body = self._framing
        assert body is not None  # noqa: S101
        try:
            taken = body.take(data, self.body)
        except FramingError:  # passed on as it is: the client reports the error
            self.until_close = True
            return len(data)
        self.done = body.done
        return taken
