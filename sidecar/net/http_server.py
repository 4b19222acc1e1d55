"""Serve small HTTP/1.1 answers from memory, and refuse everything that is not strictly valid.

The credential relay and the health endpoint use it. Neither takes a request body, waits for I/O or
streams. So this is an asyncio protocol on bare transports: it cuts each head out of the stream,
checks it with httptools, and answers in the same turn of the loop. A request that can be read in
two ways (RFC 9112, section 11) is refused, and its connection closed.

Answers have no `Date`, although RFC 9110 (6.6.1) asks a server with a clock for it. They are
rendered once, long before they are written, and no client of credentials or health reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools
import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

log = structlog.get_logger()

_END = b"\r\n\r\n"
_HTTP_PORT = 80
_CHECKED_HEADS = 64  # of 8 KiB at most
# Limits of the cached answers: peers, heads of each peer, bytes of each head.
_CACHED_PEERS = 256
_CACHED_HEADS = 8
_CACHED_BYTES = 1024
_WILDCARDS = ("0.0.0.0", "::")
# A request with one of these headers was forwarded: the peer did not make it.
_FORWARDED = ("x-forwarded-for", "forwarded", "via")


# No dataclasses and no regular expressions here: each costs start-up time, which has a limit.
class Limits(NamedTuple):
    """The limits of one listener; times in seconds."""

    head_bytes: int = 8 * 1024
    headers: int = 64
    connections: int = 1024
    backlog: int = 1024
    head_seconds: float = 5.0
    """From the connection, or from the first byte of a head, to the last byte of that head."""
    idle_seconds: float = 60.0
    """Between an answer and the next head; also how long a client may leave answers unread."""
    linger_seconds: float = 1.0
    """How long a refused client may go on sending before its connection is aborted."""
    linger_bytes: int = 256 * 1024
    grace_seconds: float = 1.0
    """At the limit of connections, one that was idle for this long is closed for a new one."""
    patience_seconds: float = 0.04
    """How long a request may wait for a better answer (`WaitingRequests`)."""


class Request:
    """One request head that passed every check. Header names are lower-case.

    Its target may be a secret: there is no repr.
    """

    __slots__ = ("has_waited", "headers", "method", "peer", "target")

    def __init__(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        peer: str,
        *,
        has_waited: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.peer = peer
        self.has_waited = has_waited
        """Whether it has waited for a better answer already. It must get an answer now."""


class WaitingRequests:
    """The requests that wait a moment, because a better answer is expected."""

    def __init__(self, patience: float | None = None) -> None:
        self.patience = patience
        """Seconds for which a request waits here; None: as the listener's limits say."""
        self._connections: dict[_Connection, None] = {}  # ordered by arrival

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._connections)

    def answer_all(self) -> None:
        """Answer every waiting request now."""
        for connection in tuple(self._connections):
            connection.resume()

    def add(self, connection: _Connection) -> None:
        """Let the request of this connection wait."""
        self._connections[connection] = None

    def remove(self, connection: _Connection) -> None:
        """Let the request of this connection wait no longer; no error if it does not wait."""
        self._connections.pop(connection, None)


Replay = Callable[[], bytes | None]
"""Returns the bytes of a cached answer; None if it is void and the request must be judged."""


class Answer:
    """One answer. It is rendered when it is made, so that writing it costs nothing.

    Its body may hold secrets: there is no repr.
    """

    __slots__ = ("body", "content_type", "headers", "replay", "status", "wait_in", "wire")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = "text/plain; charset=utf-8",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.wire = self.rendered()
        """The bytes for a connection that stays open."""
        self.replay: Replay | None = None
        """Called when the same peer sends the same head again, instead of judging the request."""
        self.wait_in: WaitingRequests | None = None
        """If set, this answer is not sent: the request waits there for a better one."""

    def copy(self) -> Answer:
        """Return this answer without `replay` and `wait_in`, which belong to one request."""
        copy = Answer.__new__(Answer)
        copy.status, copy.body, copy.content_type = self.status, self.body, self.content_type
        copy.headers, copy.wire, copy.replay, copy.wait_in = self.headers, self.wire, None, None
        return copy

    def rendered(self, *, close: bool = False, body: bool = True) -> bytes:
        """Return the bytes of the answer; `close` for the last one, without `body` for HEAD."""
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        if close:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1") + _END
        return head + self.body if body else head


class Refusal(NamedTuple):
    """A request that is refused before `answer` sees it."""

    status: int
    reason: str
    """A fixed phrase, with nothing of the request in it."""
    peer: str


def answer_in_plain_text(refusal: Refusal) -> Answer:
    """Return the answer to a refused request, in plain text."""
    return Answer(refusal.status, f"{refusal.reason}\n".encode())


@asynccontextmanager
async def listening(
    host: str,
    port: int,
    answer: Callable[[Request], Answer],
    *,
    names: Iterable[str] = (),
    refuse: Callable[[Refusal], Answer] = answer_in_plain_text,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Answer requests at one address; yield the bound host and port (port 0: a free one).

    `answer` is called for each well-formed request without a body, whatever its method. It must
    not block. `names` are hosts to accept beside the bound address and the loopback names, with
    or without a port. Raises OSError if the address cannot be bound.
    """
    listener = _Listener(answer, refuse, limits or Limits())
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(listener), host, port, backlog=listener.limits.backlog
    )
    try:
        bound = server.sockets[0].getsockname()
        listener.set_hosts(bound[0], bound[1], names)
        yield bound[0], bound[1]
    finally:
        server.close()
        await listener.close()


class _Listener:
    """The state that all connections of one listener share."""

    def __init__(
        self,
        answer: Callable[[Request], Answer],
        refuse: Callable[[Refusal], Answer],
        limits: Limits,
    ) -> None:
        self.answer = answer
        self.refuse = refuse
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.hosts: frozenset[str] = frozenset()
        self.any_address = False
        self.connections: set[_Connection] = set()
        # Clients send the same bytes again, and the check of a head depends on its bytes alone.
        self.checked: dict[bytes, _CheckedHead] = {}
        self._cached: dict[str, dict[bytes, Replay]] = {}
        self._emptied: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set_hosts(self, address: str, port: int, names: Iterable[str]) -> None:
        """Set the Host headers that this listener accepts.

        A listener on every address accepts any address. It accepts no name, because a DNS rebinding
        attack uses one.
        """
        literal = f"[{address}]" if ":" in address else address
        own = {literal, "localhost", "127.0.0.1"}
        hosts = {f"{name}:{port}" for name in own}
        hosts |= own if port == _HTTP_PORT else set()
        for name in names:
            hosts |= {name, f"{name}:{_HTTP_PORT}", f"{name}:{port}"}
        self.hosts = frozenset(hosts)
        self.any_address = address in _WILDCARDS

    def is_named(self, host: str) -> bool:
        """Return whether a Host header means this listener."""
        host = host.lower()
        return host in self.hosts or (self.any_address and _is_address(host))

    def admit(self, connection: _Connection) -> bool:
        """Add a connection. Return False if there are too many, and none can be closed for it."""
        if len(self.connections) >= self.limits.connections:
            now = self.loop.time()
            oldest = min(self.connections, key=lambda known: known.idle_since)
            if now - oldest.idle_since < self.limits.grace_seconds:
                return False
            self.remove(oldest)
            oldest.transport.abort()
        self.connections.add(connection)
        return True

    def cached_for(self, peer: str) -> dict[bytes, Replay]:
        """Return the cached answers of this peer alone, by the bytes of the request's head."""
        cached = self._cached.get(peer)
        if cached is None:
            if len(self._cached) >= _CACHED_PEERS:
                del self._cached[next(iter(self._cached))]
            cached = self._cached[peer] = {}
        return cached

    def remove(self, connection: _Connection) -> None:
        """Remove a connection that has ended."""
        self.connections.discard(connection)
        connection.stop_waiting()
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def watch(self, deadline: float) -> None:
        """Make sure that deadlines are checked at `deadline` (loop time) or earlier.

        All connections share one timer. Most deadlines move to a later time, so the timer is set
        again only when it fires or when an earlier deadline comes. An answered request then costs
        no timer at all.
        """
        if self._timer is not None:
            if self._timer_at <= deadline:
                return
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.loop.call_at(deadline, self._check_deadlines)

    def _check_deadlines(self) -> None:
        self._timer = None
        now = self.loop.time()
        for connection in [known for known in self.connections if known.deadline <= now]:
            connection.expire()
        if self.connections:
            # Not at once: an expired connection may need one more turn of the loop to end.
            self.watch(max(min(known.deadline for known in self.connections), now + 0.01))

    async def close(self) -> None:
        """Close every connection; abort those that have not taken their answers after 50 ms."""
        for connection in tuple(self.connections):
            connection.transport.close()
        await self._wait_until_empty(0.05)
        for connection in tuple(self.connections):
            connection.transport.abort()
        await self._wait_until_empty(0.05)
        if self._timer is not None:
            self._timer.cancel()

    async def _wait_until_empty(self, timeout: float) -> None:
        if self.connections:
            self._emptied = self.loop.create_future()
            await asyncio.wait([self._emptied], timeout=timeout)


def _is_address(host: str) -> bool:
    """Return whether a Host, with or without a port, is an address and not a name."""
    try:
        if host.startswith("["):
            IPv6Address(host[1 : host.index("]")])
        else:
            IPv4Address(host.partition(":")[0])
    except ValueError:
        return False
    return True


class _RefusedError(Exception):
    """A head did not pass a check."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _CheckedHead(NamedTuple):
    """A head that passed every check."""

    method: str
    target: str
    headers: Mapping[str, str]
    keep: bool
    """Whether the connection may stay open after the answer."""


class _HeadParser:
    """Parses and checks one head; httptools calls the `on_` methods.

    Each head gets its own parser, so that nothing of one request can leak into the next.
    """

    __slots__ = ("_complete", "_count", "_headers", "_keep", "_parser", "_target")

    def __init__(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._count = 0
        self._complete = 0
        self._keep = False
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value
        if known is not None and name == b"host":
            self._headers[name] = b""  # two Host headers count as none

    def on_message_complete(self) -> None:
        self._complete += 1
        self._keep = self._parser.should_keep_alive()  # afterwards httptools forgets it

    def parse(self, head: bytes, listener: _Listener) -> _CheckedHead:
        """Return the request in `head`, which ends with its empty line. Raises _RefusedError."""
        upgrade = False
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            upgrade = True
        except httptools.HttpParserError as error:
            raise _RefusedError(400, "malformed request") from error
        method = self._parser.get_method().decode("ascii")
        headers = {
            name.decode("latin-1"): value.decode("latin-1").strip(" \t")
            for name, value in self._headers.items()
        }
        version = self._check_framing(head, headers)
        self._check_sender(headers, listener)
        # An offer to upgrade may be ignored (RFC 9110, 7.8), but httptools reads no further.
        keep = self._keep and not upgrade and version == "1.1"
        return _CheckedHead(method, self._target.decode("ascii"), headers, keep)

    def _check_framing(self, head: bytes, headers: dict[str, str]) -> str:
        """Return the HTTP version. Raises _RefusedError if the request is more than this head."""
        line = head.lstrip(b"\r\n").partition(b"\r\n")[0]
        if not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):  # httptools accepts RTSP, too
            raise _RefusedError(505, "only HTTP/1.1 is spoken here")
        if "transfer-encoding" in headers or headers.get("content-length", "0").strip("0"):
            raise _RefusedError(413, "no request body is taken")
        if self._complete != 1:
            raise _RefusedError(400, "malformed request")
        return line[-3:].decode("ascii")

    def _check_sender(self, headers: dict[str, str], listener: _Listener) -> None:
        if self._count > listener.limits.headers:
            raise _RefusedError(431, "too many headers")
        if not self._target.startswith(b"/"):
            raise _RefusedError(400, "the target is not a path")
        if not headers.get("host"):
            raise _RefusedError(400, "not exactly one Host")
        if not listener.is_named(headers["host"]):
            raise _RefusedError(421, "this is not that Host")
        if any(name in headers for name in _FORWARDED):
            raise _RefusedError(403, "relayed requests are not answered")


class _Connection(asyncio.Protocol):
    """One client connection: cuts heads out of the stream and answers them in order."""

    __slots__ = (
        "_cached",
        "_closing",
        "_discarded",
        "_listener",
        "_paused",
        "_pending",
        "_wait_in",
        "_waiting_head",
        "deadline",
        "idle_since",
        "peer",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self._pending = b""
        self._paused = False  # the client does not read its answers
        self._closing = False  # the last answer is written; further input is dropped
        self._discarded = 0
        self._waiting_head = b""  # a head that waits for its answer, and where it waits
        self._wait_in: WaitingRequests | None = None
        self._cached: dict[bytes, Replay] = {}
        self.peer = ""
        self.deadline = 0.0
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self.idle_since = self._listener.loop.time()
        self._set_deadline(self.idle_since + self._listener.limits.head_seconds)
        if not self._listener.admit(self):
            # Not added to the listener: the refusal is small enough for any socket buffer.
            self.transport.write(self._refusal(503, "too many connections"))
            self._closing = True
            self.transport.close()
            return
        self._cached = self._listener.cached_for(self.peer)

    def connection_lost(self, _: Exception | None) -> None:
        self._closing = True
        self._listener.remove(self)

    def data_received(self, data: bytes) -> None:
        data = bytes(data)  # the Proactor loop of Python 3.11 hands over a bytearray
        # Nearly every request of a busy client is answered here (ADR 8).
        replay = self._cached.get(data)
        if replay is not None and not self._pending and not self._paused:
            wire = replay()
            if wire is not None:
                self.idle_since = now = self._listener.loop.time()
                self._set_deadline(now + self._listener.limits.idle_seconds)
                self.transport.write(wire)
                return
            self._cached.pop(data, None)  # void for good, also if its grounds change back
        if self._closing:
            self._discard(len(data))
            return
        self._pending = self._serve(self._pending + data if self._pending else data)
        if self._closing or self._waiting_head:
            return
        now = self._listener.loop.time()
        if self._paused or not self._pending:
            self._set_deadline(now + self._listener.limits.idle_seconds)
        elif len(self._pending) <= len(data):  # this head began in this packet
            self._set_deadline(now + self._listener.limits.head_seconds)

    def _serve(self, data: bytes) -> bytes:
        """Answer the complete heads in `data`; return the rest of it."""
        limit = self._listener.limits.head_bytes
        start = 0
        while not self._paused and not self._closing and not self._waiting_head:
            found = data.find(_END, start)
            end = found + len(_END)
            if (end if found >= 0 else len(data)) - start > limit:
                self._refuse(431, "the request head is too large")
            elif found < 0:
                break
            else:
                self._answer(data[start:end])
                start = end
        return b"" if self._closing else data[start:]

    def _answer(self, head: bytes, *, has_waited: bool = False) -> None:
        checked = self._listener.checked.get(head) or self._check(head)
        if checked is None:
            return
        method, target, headers, keep = checked
        request = Request(method, target, headers, self.peer, has_waited=has_waited)
        try:
            answer = self._listener.answer(request)
        except Exception:
            log.exception("http.request_failed", method=method)
            answer, keep = Answer(500, b"internal error\n"), False
        if answer.wait_in is not None:
            self._wait(head, answer.wait_in)
            return
        self.idle_since = self._listener.loop.time()
        with_body = method != "HEAD"
        if keep:
            self.transport.write(answer.wire if with_body else answer.rendered(body=False))
            if answer.replay is not None and method == "GET":
                self._cache(head, answer.replay)
        else:
            self._close_with(answer.rendered(close=True, body=with_body))

    def _wait(self, head: bytes, wait_in: WaitingRequests) -> None:
        """Answer this head when a better answer has come, or when the patience ends."""
        self._waiting_head, self._wait_in = head, wait_in
        wait_in.add(self)
        self.transport.pause_reading()
        patience = wait_in.patience
        if patience is None:
            patience = self._listener.limits.patience_seconds
        self._set_deadline(self._listener.loop.time() + patience)

    def stop_waiting(self) -> None:
        """Remove this connection from the waiting requests."""
        if self._wait_in is not None:
            self._wait_in.remove(self)
        self._waiting_head, self._wait_in = b"", None

    def resume(self) -> None:
        """Answer the head that waited, and the heads behind it."""
        head = self._waiting_head
        self.stop_waiting()
        if self.transport.is_closing():
            return
        self._answer(head, has_waited=True)
        self._pending = self._serve(self._pending)
        if self._closing or self._waiting_head:
            return
        limits = self._listener.limits
        allowed = limits.head_seconds if self._pending else limits.idle_seconds
        self._set_deadline(self._listener.loop.time() + allowed)
        if not self._paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _cache(self, head: bytes, replay: Replay) -> None:
        """Let `replay` answer if the same peer sends the same head again."""
        if len(head) <= _CACHED_BYTES:
            if len(self._cached) >= _CACHED_HEADS:
                self._cached.clear()
            self._cached[head] = replay

    def _check(self, head: bytes) -> _CheckedHead | None:
        try:
            checked = _HeadParser().parse(head, self._listener)
        except _RefusedError as refused:
            self._refuse(refused.status, refused.reason)
            return None
        if len(self._listener.checked) >= _CHECKED_HEADS:
            self._listener.checked.clear()
        self._listener.checked[head] = checked
        return checked

    def _refusal(self, status: int, reason: str) -> bytes:
        return self._listener.refuse(Refusal(status, reason, self.peer)).rendered(close=True)

    def _refuse(self, status: int, reason: str) -> None:
        self._close_with(self._refusal(status, reason))

    def _close_with(self, last: bytes) -> None:
        """Write the last answer, and leave the client a moment to read it.

        To close at once while input is unread would reset the connection. The client may then see
        the reset before it has read the answer (RFC 9112, 9.6).
        """
        self._closing = True
        self._cached = {}  # nothing more is answered on this connection
        self._pending = b""
        self.transport.write(last)
        if not self.transport.is_closing():
            self.transport.write_eof()
        limits = self._listener.limits
        allowed = limits.idle_seconds if self._paused else limits.linger_seconds
        self._set_deadline(self._listener.loop.time() + allowed)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self._listener.limits.linger_bytes:
            self.transport.abort()

    def _set_deadline(self, deadline: float) -> None:
        self.deadline = deadline
        self._listener.watch(deadline)

    def expire(self) -> None:
        """Act on the deadline, which has passed."""
        if self._closing or self._paused:
            self.transport.abort()
        elif self._waiting_head:
            self.resume()
        elif self._pending:
            self._refuse(408, "the request head took too long")
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        self._paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if not self._closing:
            self._pending = self._serve(self._pending)
        if not self._paused and not self._waiting_head and not self.transport.is_closing():
            self.transport.resume_reading()
