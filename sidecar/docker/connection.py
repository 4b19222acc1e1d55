"""One client's connection, followed from request to request and passed on raw.

A client may ask for containers again and again on one connection, so it is known at every byte
where a request ends: only the answer that has no end, the hijacked stream, makes it raw for good.
Of two requests in a row the second waits for the first one's answer, as it does in the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from sidecar.docker import error_responses, heads
from sidecar.docker.bodies import Body, Misframed
from sidecar.docker.heads import Malformed
from sidecar.docker.responses import Reply
from sidecar.docker.spliced_socket import SplicedSocket

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Coroutine

    from sidecar.docker.heads import Request

log = structlog.get_logger()

LINGER = 1.0
"""Seconds that a refused client may go on sending before it is cut off."""
_PIECE = 16 * 1024
_MOST_KEPT = 1 << 20
"""Bytes of an answer that is looked at."""


class Refused(Exception):
    """A request that the engine does not get to see; the text is for who made it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Verdict(Protocol):
    """What is to be done with a request whose body was looked at."""

    @property
    def body(self) -> bytes:
        """What goes to the engine."""
        ...

    def answered(self, status: int, body: bytes) -> None:
        """Hear what the engine answered."""

    def unanswered(self) -> None:
        """Hear that there will be no answer."""


class RequestPolicy(Protocol):
    """Who decides which requests are looked at, and what becomes of them."""

    def looks_at(self, request: Request) -> int | None:
        """Return how many bytes of body to wait for at most; None: it goes by. Raises Refused."""

    def follows(self) -> None:
        """Let a client speak HTTP/2, which nobody can follow. Raises Refused."""

    async def judged(self, request: Request, body: bytes) -> Verdict:
        """Look at a request. Raises Refused."""
        ...


class ProxyContext(Protocol):
    """What a connection needs of the proxy."""

    loop: asyncio.AbstractEventLoop
    judge: RequestPolicy

    def dial(self) -> socket.socket:
        """Connect to the engine. Raises Refused."""
        ...

    def hold(self, size: int) -> None:
        """Count bytes that are held; a negative size lets go. Raises Refused."""

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run beside."""

    def forget(self, connection: Connection) -> None:
        """Hear that the connection is over."""


class Connection:
    """From the client to the engine, and back."""

    def __init__(self, proxy: ProxyContext, sock: socket.socket) -> None:
        self._proxy = proxy
        self._engine: SplicedSocket | None = None
        self._head = bytearray()
        self._early = bytearray()
        """What came before its turn."""
        self._request: Request | None = None
        """The one that is under way."""
        self._body: Body | None = None
        """What is left of it; None: all of it has come."""
        self._seen: bytearray | None = None
        """The body of a request that is looked at."""
        self._bound = 0
        self._held = 0
        self._reply = Reply("", seen=False)
        self._verdict: Verdict | None = None
        self._kept = bytearray()
        """An answer that is looked at."""
        self._raw = False
        self._over = False
        """Whether nothing is taken from the client any more."""
        self._closed = False
        self._gone = False
        """Whether the client is, and only what it sent is still to be delivered."""
        self._client = SplicedSocket(proxy.loop, sock, self)

    # -- what the sides say --------------------------------------------------------------------

    def came(self, side: SplicedSocket, data: memoryview) -> None:
        """Pass on what came."""
        if side is not self._client:
            self._from_engine(data)
        elif not self._over:
            self._from_client(data)

    def full(self, side: SplicedSocket) -> None:
        """Read no more from the other side."""
        if side is not self._client:
            self._client.pause()
        elif self._engine is not None:
            self._engine.pause()

    def drained(self, side: SplicedSocket) -> None:
        """Read on from the other side, or let go if that was all."""
        if side is not self._client:
            if self._gone:
                self.close()
            else:
                self._read_on()
        else:
            if self._engine is not None:
                self._engine.resume()
            self._closes_if_done()

    def finished(self, side: SplicedSocket, *, gone: bool) -> None:
        """Hand the end on."""
        if side is not self._client:
            self._engine_finished(gone=gone)
        elif self._over:
            self._closes_if_done()
        elif self._seen is not None:  # it is being looked at, or never will be
            if not self._asked:
                self.close()
        elif self._engine is None or (gone and not self._engine.is_full):
            self.close()
        else:
            self._gone = gone
            self._engine.end()
            self._closes_if_done()

    def lost(self, side: SplicedSocket) -> None:
        """Let go if nobody hears the answers; who does not hear the question may still answer."""
        if side is self._client:
            self.close()

    @property
    def _asked(self) -> bool:
        """Whether a request has come whole and its answer has not."""
        return self._request is not None and self._body is None

    def _read_on(self) -> None:
        if not self._early and (self._engine is None or not self._engine.is_full):
            self._client.resume()

    # -- from the client -----------------------------------------------------------------------

    def _from_client(self, data: memoryview) -> None:
        try:
            self._take(data)
        except (Malformed, Refused) as error:
            self._refuse(error.status, str(error))
        except Misframed as error:
            self._refuse(400, str(error))

    def _take(self, data: memoryview) -> None:
        at = 0
        while at < len(data) and not (self._raw or self._asked or self._over):
            taken = self._take_body if self._body is not None else self._take_head
            at += taken(data[at:])
        if at == len(data) or self._over:
            return
        if self._raw:
            self._to_engine(data[at:])
        else:
            self._early += data[at:]
            self._client.pause()

    def _take_head(self, data: memoryview) -> int:
        if not self._head and self._reply.method == "POST" and data[0] in b"\r\n":
            return 1  # some clients send a line end behind a body, and the engine minds it not
        before, piece = len(self._head), data[:_PIECE]
        self._head += piece
        end = heads.end(self._head, before)
        if end < 0:
            self._hold(len(piece))
            heads.bounded(self._head)
            return len(piece)
        self._let_go()
        raw = bytes(self._head[:end])
        self._head.clear()
        if raw == heads.PRIOR_KNOWLEDGE:
            self._proxy.judge.follows()
            self._go_raw(raw)
        else:
            self._begin(heads.request(raw))
        return end - before

    def _begin(self, request: Request) -> None:
        body = request.body()
        bound = self._proxy.judge.looks_at(request)
        self._request, self._body = request, body
        self._reply = Reply(request.method, seen=bound is not None)
        if bound is None:
            self._to_engine(request.raw)
        else:
            self._seen, self._bound = bytearray(), bound
            if request.expects and not body.done:
                self._client.write(error_responses.CONTINUE)
        if body.done:
            self._complete()

    def _take_body(self, data: memoryview) -> int:
        body = self._body
        assert body is not None  # noqa: S101
        taken = body.take(data, self._seen)
        if self._seen is None:
            self._to_engine(data[:taken])
        elif len(self._seen) <= self._bound:
            self._hold(taken)
        else:
            raise Refused(
                413, f"the body is larger than the {self._bound} bytes that are looked at"
            )
        if body.done:
            self._complete()
        return taken

    def _hold(self, size: int) -> None:
        self._held += size
        self._proxy.hold(size)

    def _let_go(self) -> None:
        self._proxy.hold(-self._held)
        self._held = 0

    def _complete(self) -> None:
        self._body = None
        if self._seen is not None and self._request is not None:
            self._proxy.spawn(self._judged(self._request, bytes(self._seen)))
        elif self._reply.done:
            self._request = None

    async def _judged(self, request: Request, body: bytes) -> None:
        """Have a request looked at, and go on with what comes of it."""
        try:
            verdict = await self._proxy.judge.judged(request, body)
        except Refused as error:
            self._let_go()
            self._seen = self._request = None
            self._client.write(error_responses.error(error.status, str(error)))
            self._next()
        except Exception as error:
            self.close()
            log.exception("docker.request_failed", reason=type(error).__name__)
        else:
            self._let_go()
            self._seen, self._verdict = None, verdict
            if self._closed:
                self._unanswered()
            else:
                self._asked_for(request, body, verdict)

    def _asked_for(self, request: Request, body: bytes, verdict: Verdict) -> None:
        """Give the engine a request that was looked at."""
        changed = verdict.body != body or request.has_frame
        try:
            self._to_engine(request.with_body(verdict.body) if changed else request.raw + body)
        except Refused as error:
            self._refuse(error.status, str(error))
        if self._client.ended and self._engine is not None:
            self._engine.end()

    def _unanswered(self) -> None:
        verdict, self._verdict = self._verdict, None
        if verdict is not None:
            verdict.unanswered()

    def _next(self) -> None:
        """Go on with what came early, now that there is nothing under way."""
        early, self._early = self._early, bytearray()
        if early:
            self._from_client(memoryview(early))
        self._read_on()
        if self._client.ended and not self._asked:
            self._closes_soon()

    def _to_engine(self, data: bytes | bytearray | memoryview) -> None:
        if self._engine is None:
            self._engine = SplicedSocket(self._proxy.loop, self._proxy.dial(), self)
        self._engine.write(data)

    def _refuse(self, status: int, why: str) -> None:
        """Say so, and close."""
        if self._reply.begun and self._request is not None:
            self.close()  # in the middle of an answer nothing can be said
            return
        self._client.write(error_responses.error(status, why, close=True))
        self._closes_soon()

    # -- from the engine -----------------------------------------------------------------------

    def _from_engine(self, data: memoryview) -> None:
        if self._raw or self._request is None:  # or it says so unasked
            self._client.write(data)
            return
        reply = self._reply
        taken = reply.take(data)
        self._pass_back(data[:taken])
        if reply.endless:
            self._hijacked(data[taken:])
        elif reply.done:
            self._client.write(data[taken:])
            if self._asked:
                self._request = None
                self._next()

    def _pass_back(self, data: memoryview) -> None:
        """Give the client what came, or keep it until it is whole if it is looked at."""
        reply = self._reply
        if reply.seen is None:
            self._client.write(data)
            return
        self._kept += data
        if reply.done or reply.endless or len(self._kept) > _MOST_KEPT:
            verdict, self._verdict = self._verdict, None
            if verdict is not None:
                verdict.answered(reply.status, bytes(reply.seen))
            reply.seen = None
            self._client.write(self._kept)
            self._kept = bytearray()

    def _hijacked(self, rest: memoryview) -> None:
        self._request = self._body = None
        self._client.write(rest)
        early, self._early = self._early, bytearray()
        self._go_raw(early)
        self._read_on()

    def _go_raw(self, data: bytes | bytearray) -> None:
        """Follow no further: from here on, both sides have each other."""
        self._raw = True
        self._to_engine(data)
        if self._engine is not None:
            self._engine.splice(self._client)
            self._client.splice(self._engine)

    def _engine_finished(self, *, gone: bool) -> None:
        self._client.write(self._kept)
        self._kept = bytearray()
        if self._raw and not gone:
            self._client.end()
            self._closes_if_done()
        else:
            self._closes_soon()

    # -- the end -------------------------------------------------------------------------------

    def _closes_if_done(self) -> None:
        over = self._over or (self._engine is not None and self._engine.ended)
        if over and self._client.ended and not self._client.is_full:
            self.close()

    def _closes_soon(self) -> None:
        """Deliver what is written, and take nothing any more."""
        self._over = True
        self._early.clear()
        self._client.end()
        if self._engine is not None:
            self._engine.close()
        if self._client.ended and not self._client.is_full:
            self.close()
        else:
            self._client.resume()
            self._proxy.loop.call_later(LINGER, self._lingered)

    def _lingered(self) -> None:
        """Cut it off, unless it still takes what was written."""
        if self._client.is_full:
            self._proxy.loop.call_later(LINGER, self._lingered)
        else:
            self.close()

    def close(self) -> None:
        """Let go of both sides."""
        if self._closed:
            return
        self._closed = self._over = True
        self._let_go()
        self._client.close()
        if self._engine is not None:
            self._engine.close()
        self._unanswered()
        self._proxy.forget(self)
