"""Follow one client's connection request by request, and pass the bytes on to the engine.

A client may create several containers on one connection, so the end of each request must be known.
Only a response without an end of its own (a hijacked stream) makes the connection raw for good. A
second request waits for the response to the first one, as it does in the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from sidecar.docker import error_responses, heads
from sidecar.docker.bodies import Body, FramingError
from sidecar.docker.entry_count import ENTRY_SIZE, EntryCount, TooManyEntries
from sidecar.docker.heads import MalformedHead
from sidecar.docker.responses import Response
from sidecar.docker.spliced_socket import SplicedSocket

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Coroutine, Mapping

    from sidecar.docker.heads import RequestHead

log = structlog.get_logger()

LINGER = 1.0
"""Seconds until a refused client that goes on sending is cut off."""
ABANDONED = 10.0
"""Seconds to wait for the response to a checked request whose client is gone."""
_PIECE = 16 * 1024
_MAX_KEPT = 1 << 20
"""Bytes of the response to a checked request that are kept."""


class RequestRefused(Exception):
    """A request is not passed on to the engine; the text is for the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestAnswered(Exception):
    """A request is answered here, and does not go to the engine."""

    def __init__(self, status: int, fields: Mapping[str, object]) -> None:
        super().__init__(status)
        self.status = status
        self.fields = fields


class CheckedRequest(Protocol):
    """A request that the policy has checked."""

    @property
    def body(self) -> bytes:
        """The body for the engine."""
        ...

    def handle_response(self, status: int, body: bytes) -> None:
        """Take the engine's response."""

    def handle_no_response(self) -> None:
        """Note that there will be no response."""


class RequestPolicy(Protocol):
    """Decides which requests are checked, and changes or refuses them."""

    def body_limit(self, request: RequestHead) -> int | None:
        """Return the size limit of a body that must be checked; None: pass the request on.

        Raises RequestRefused.
        """

    def allow_http2(self) -> None:
        """Let a client use HTTP/2, which the proxy cannot follow. Raises RequestRefused."""

    async def check(self, request: RequestHead, body: bytes) -> CheckedRequest:
        """Check a request, and change it if necessary.

        Raises RequestRefused, or RequestAnswered if the policy has done what the client asks.
        """
        ...


class ProxyContext(Protocol):
    """The parts of the proxy that a connection needs."""

    loop: asyncio.AbstractEventLoop
    policy: RequestPolicy

    def connect_engine(self) -> socket.socket:
        """Connect to the engine. Raises RequestRefused."""
        ...

    def count_held(self, size: int) -> None:
        """Add to the count of held bytes; a negative size subtracts. Raises RequestRefused."""

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` in a task of the proxy's."""

    def forget(self, connection: Connection) -> None:
        """Remove a closed connection."""


class Connection:
    """One client's connection, and its connection to the engine."""

    def __init__(self, proxy: ProxyContext, sock: socket.socket) -> None:
        self._proxy = proxy
        self._engine: SplicedSocket | None = None
        self._head = bytearray()
        self._early = bytearray()
        """Data of later requests, which wait for the current one."""
        self._request: RequestHead | None = None
        """The current request."""
        self._body: Body | None = None
        """Follows the current request's body; None: all of it has come."""
        self._checked_body: bytearray | None = None
        """The body of a request that is checked."""
        self._entries = EntryCount()
        """Counts what would be built of that body."""
        self._body_limit = 0
        self._held = 0
        self._response = Response("", keep_body=False)
        self._checked: CheckedRequest | None = None
        self._kept_response = bytearray()
        """The response to a checked request, until it is complete."""
        self._raw = False
        self._input_closed = False
        """Whether the client's data is ignored from now on."""
        self._closed = False
        self._abandoned = False
        """Whether the client is gone, and only the response to its request is awaited."""
        self._client_closed = False
        """Whether the client is closed, and its last data is still to be written to the engine."""
        self._client = SplicedSocket(proxy.loop, sock, self)

    # -- events of both sockets ----------------------------------------------------------------

    def on_data(self, side: SplicedSocket, data: memoryview) -> None:
        """Pass data on."""
        if side is not self._client:
            self._from_engine(data)
        elif not self._input_closed:
            self._from_client(data)

    def on_full(self, side: SplicedSocket) -> None:
        """Stop reading from the other side."""
        if side is not self._client:
            self._client.pause()
        elif self._engine is not None:
            self._engine.pause()

    def on_drained(self, side: SplicedSocket) -> None:
        """Read from the other side again, or close if this was the last data."""
        if side is not self._client:
            if self._client_closed:
                self.close()
            else:
                self._resume_client()
        else:
            if self._engine is not None:
                self._engine.resume()
            self._close_if_done()

    def on_end(self, side: SplicedSocket, *, peer_closed: bool) -> None:
        """Pass the end of data on."""
        if side is not self._client:
            self._on_engine_end(peer_closed=peer_closed)
        elif self._input_closed:
            self._close_if_done()
        elif self._checked_body is not None:  # its request is incomplete, or being checked
            if not self._awaits_response:
                self.close()
        elif self._engine is None or (peer_closed and not self._engine.is_full):
            self.close()
        else:
            self._client_closed = peer_closed
            self._engine.end()
            self._close_if_done()

    def on_lost(self, side: SplicedSocket) -> None:
        """Close if the client reads no more. If only the engine does not, it may still respond."""
        if side is self._client:
            self.close()

    @property
    def _awaits_response(self) -> bool:
        """Whether a request has come completely, and its response has not."""
        return self._request is not None and self._body is None

    def _resume_client(self) -> None:
        if not self._early and (self._engine is None or not self._engine.is_full):
            self._client.resume()

    # -- from the client -----------------------------------------------------------------------

    def _from_client(self, data: memoryview) -> None:
        try:
            self._take(data)
        except (MalformedHead, RequestRefused) as error:
            self._refuse(error.status, str(error))
        except FramingError as error:
            self._refuse(400, str(error))
        except TooManyEntries as error:
            self._refuse(413, str(error))

    def _take(self, data: memoryview) -> None:
        at = 0
        while at < len(data) and not (self._raw or self._awaits_response or self._input_closed):
            taken = self._take_body if self._body is not None else self._take_head
            at += taken(data[at:])
        if at == len(data) or self._input_closed:
            return
        if self._raw:
            self._to_engine(data[at:])
        else:
            self._early += data[at:]
            self._client.pause()

    def _take_head(self, data: memoryview) -> int:
        if not self._head and self._response.method == "POST" and data[0] in b"\r\n":
            return 1  # some clients send a line end after a body, and the engine ignores it
        before, piece = len(self._head), data[:_PIECE]
        self._head += piece
        end = heads.find_end(self._head, before)
        if end < 0:
            self._hold(len(piece))
            heads.check_length(self._head)
            return len(piece)
        self._release_held()
        raw = bytes(self._head[:end])
        self._head.clear()
        if raw == heads.PRIOR_KNOWLEDGE:
            self._proxy.policy.allow_http2()
            self._splice(raw)
        else:
            self._begin(heads.parse_request(raw))
        return end - before

    def _begin(self, request: RequestHead) -> None:
        body = request.make_body()
        limit = self._proxy.policy.body_limit(request)
        self._request, self._body = request, body
        self._response = Response(request.method, keep_body=limit is not None)
        if limit is None:
            self._to_engine(request.raw)
        else:
            self._checked_body, self._body_limit = bytearray(), limit
            self._entries = EntryCount()
            if request.expects_continue and not body.done:
                self._client.write(error_responses.CONTINUE)
        if body.done:
            self._complete()

    def _take_body(self, data: memoryview) -> int:
        body = self._body
        assert body is not None  # noqa: S101
        before = 0
        if self._checked_body is not None:
            before, data = len(self._checked_body), data[:_PIECE]  # one with too much ends early
        taken = body.take(data, self._checked_body)
        if self._checked_body is None:
            self._to_engine(data[:taken])
        elif len(self._checked_body) <= self._body_limit:
            entries = self._entries.feed(self._checked_body[before:])
            self._hold(taken + entries * ENTRY_SIZE)
        else:
            raise RequestRefused(
                413, f"the body is larger than the {self._body_limit} bytes that can be checked"
            )
        if body.done:
            self._complete()
        return taken

    def _hold(self, size: int) -> None:
        self._held += size
        self._proxy.count_held(size)

    def _release_held(self) -> None:
        self._proxy.count_held(-self._held)
        self._held = 0

    def _complete(self) -> None:
        self._body = None
        if self._checked_body is not None and self._request is not None:
            body = bytes(self._checked_body)
            self._checked_body = bytearray()  # a second copy would be kept while it is checked
            self._proxy.spawn(self._check(self._request, body))
        elif self._response.done:
            self._request = None

    async def _check(self, request: RequestHead, body: bytes) -> None:
        """Have a request checked, and send it to the engine or refuse it."""
        try:
            checked = await self._proxy.policy.check(request, body)
        except RequestRefused as error:
            self._answer(request, error.status, {"message": str(error)})
        except RequestAnswered as answered:
            self._answer(request, answered.status, answered.fields)
        except Exception as error:
            self.close()
            log.exception("docker.request_failed", reason=type(error).__name__)
        else:
            self._release_held()
            self._checked_body, self._checked = None, checked
            if self._closed:
                self._report_no_response()
            else:
                self._send_checked(request, body, checked)

    def _answer(self, request: RequestHead, status: int, fields: Mapping[str, object]) -> None:
        """Answer a request that does not go to the engine, and go on with the next."""
        self._release_held()
        self._checked_body = self._request = None
        close = request.ends_connection
        self._client.write(error_responses.render(status, fields, close=close))
        if close:
            self._close_soon()
        else:
            self._start_next()

    def _send_checked(self, request: RequestHead, body: bytes, checked: CheckedRequest) -> None:
        """Send a checked request to the engine."""
        changed = checked.body != body or request.needs_new_frame
        try:
            self._to_engine(request.with_body(checked.body) if changed else request.raw + body)
        except RequestRefused as error:
            self._refuse(error.status, str(error))
        if self._client.ended and self._engine is not None:
            self._engine.end()

    def _report_no_response(self) -> None:
        checked, self._checked = self._checked, None
        if checked is not None:
            checked.handle_no_response()

    def _start_next(self) -> None:
        """Start with the data that waits, now that no request is in progress."""
        early, self._early = self._early, bytearray()
        if early:
            self._from_client(memoryview(early))
        self._resume_client()
        if self._client.ended and not self._awaits_response:
            self._close_soon()

    def _to_engine(self, data: bytes | bytearray | memoryview) -> None:
        if self._engine is None:
            self._engine = SplicedSocket(self._proxy.loop, self._proxy.connect_engine(), self)
        self._engine.write(data)

    def _refuse(self, status: int, message: str) -> None:
        """Send an error response, and close."""
        if self._response.started and self._request is not None:
            self.close()  # an error response cannot start within another response
            return
        self._client.write(error_responses.render_error(status, message, close=True))
        self._close_soon()

    # -- from the engine -----------------------------------------------------------------------

    def _from_engine(self, data: memoryview) -> None:
        if self._raw or self._request is None:  # or the engine sends data without a request
            self._client.write(data)
            return
        response = self._response
        taken = response.take(data)
        self._pass_response(data[:taken])
        if self._abandoned and self._checked is None:
            self.abort()
            return
        if response.until_close:
            self._start_raw(data[taken:])
        elif response.done:
            self._client.write(data[taken:])
            if self._awaits_response:
                self._request = None
                self._start_next()

    def _pass_response(self, data: memoryview) -> None:
        """Write a response to the client. One to a checked request is kept until it is complete."""
        response = self._response
        if response.body is None:
            self._client.write(data)
            return
        self._kept_response += data
        if response.done or response.until_close or len(self._kept_response) > _MAX_KEPT:
            checked, self._checked = self._checked, None
            if checked is not None:
                checked.handle_response(response.status, bytes(response.body))
            response.body = None
            self._client.write(self._kept_response)
            self._kept_response = bytearray()

    def _start_raw(self, rest: memoryview) -> None:
        self._request = self._body = None
        self._client.write(rest)
        early, self._early = self._early, bytearray()
        self._splice(early)
        self._resume_client()

    def _splice(self, data: bytes | bytearray) -> None:
        """Stop following the requests: from now on, each side's data goes straight to the other."""
        self._raw = True
        self._to_engine(data)
        if self._engine is not None:
            self._engine.splice(self._client)
            self._client.splice(self._engine)

    def _on_engine_end(self, *, peer_closed: bool) -> None:
        self._client.write(self._kept_response)
        self._kept_response = bytearray()
        if self._raw and not peer_closed:
            self._client.end()
            self._close_if_done()
        else:
            self._close_soon()

    # -- the end -------------------------------------------------------------------------------

    def _close_if_done(self) -> None:
        ended = self._input_closed or (self._engine is not None and self._engine.ended)
        if ended and self._client.ended and not self._client.is_full:
            self.close()

    def _close_soon(self) -> None:
        """Write what is pending, and ignore all further data."""
        self._input_closed = True
        self._early.clear()
        self._client.end()
        if self._engine is not None:
            self._engine.close()
        if self._client.ended and not self._client.is_full:
            self.close()
        else:
            self._client.resume()
            self._proxy.loop.call_later(LINGER, self._end_linger)

    def _end_linger(self) -> None:
        """Close, unless the client still reads what was written."""
        if self._client.is_full:
            self._proxy.loop.call_later(LINGER, self._end_linger)
        else:
            self.close()

    def close(self) -> None:
        """Close both sides. The engine's side waits for the response to a checked request.

        A killed client does not stop the engine from creating its container, which must be known.
        """
        if self._checked is None or self._engine is None or self._engine.closed or self._closed:
            self.abort()
        elif not self._abandoned:
            self._abandoned = self._input_closed = True
            self._release_held()
            self._early.clear()
            self._client.close()
            self._engine.resume()
            self._proxy.loop.call_later(ABANDONED, self.abort)

    def abort(self) -> None:
        """Close both sides at once."""
        if self._closed:
            return
        self._closed = self._input_closed = True
        self._release_held()
        self._client.close()
        if self._engine is not None:
            self._engine.close()
        self._report_no_response()
        self._proxy.forget(self)
