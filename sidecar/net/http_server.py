"""A small, strict HTTP/1.1 listener for answers that stand ready in memory.

It serves the agent's two local listeners, the credential relay and the health endpoint. Neither
ever takes a request body, looks anything up elsewhere or streams, so this is a protocol on bare
transports: each head is cut out of the stream here, judged by httptools, and answered in the same
turn of the loop. Whatever has two readings (RFC 9112, section 11) is refused and the connection
closed.

There is no `Date`, which RFC 9110 (6.6.1) asks of an origin server with a clock: answers are
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
_JUDGED_HEADS = 64  # of 8 KiB at most
# What stands ready for the same head again: for so many peers, so many heads, of so many bytes.
_STANDING_PEERS = 256
_STANDING_HEADS = 8
_STANDING_BYTES = 1024
_WILDCARDS = ("0.0.0.0", "::")
# A request that passed through something else was not made by who sits at the other end.
_RELAYED = ("x-forwarded-for", "forwarded", "via")


# Neither dataclasses nor more regular expressions than needed: each costs start-up time, which
# is budgeted, and every agent pays it.
class Limits(NamedTuple):
    """What one listener grants; times in seconds."""

    head_bytes: int = 8 * 1024
    headers: int = 64
    connections: int = 1024
    backlog: int = 1024
    head_seconds: float = 5.0
    """From the connection, or from a head's first byte, to the head's last byte."""
    idle_seconds: float = 60.0
    """Between an answer and the next head; also the longest wait for a reader of answers."""
    linger_seconds: float = 1.0
    """How long a refused client may go on sending before it is cut off."""
    linger_bytes: int = 256 * 1024
    grace_seconds: float = 1.0
    """When all places are taken, who waited this long without asking makes room."""
    patience_seconds: float = 0.04
    """How long a request waits for a better answer, where one may come (`Later`)."""


class Request:
    """One request head that passed every check. Header names are lower-case.

    Its target may be a secret: there is no repr.
    """

    __slots__ = ("headers", "late", "method", "peer", "target")

    def __init__(
        self, method: str, target: str, headers: Mapping[str, str], peer: str, *, late: bool = False
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.peer = peer
        self.late = late
        """Whether it has waited for a better answer already, and must get one now."""


class Later:
    """Those whose answer will be a better one in a moment."""

    def __init__(self) -> None:
        self._waiting: dict[_Connection, None] = {}  # in the order they came

    def come(self) -> None:
        """Have everybody's request answered now."""
        for connection in tuple(self._waiting):
            connection.resume()

    def hold(self, connection: _Connection) -> None:
        """Let one wait."""
        self._waiting[connection] = None

    def release(self, connection: _Connection) -> None:
        """Let one wait no longer."""
        self._waiting.pop(connection, None)


Again = Callable[[], bytes | None]
"""Gives what to write to who sends the very same bytes again; None: the request is to be judged."""


class Answer:
    """One answer, rendered when it is made so that writing it costs nothing.

    Its body may hold secrets: there is no repr.
    """

    __slots__ = ("again", "body", "content_type", "headers", "later", "status", "wire")

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
        """What is written to a client whose connection stays open."""
        self.again: Again | None = None
        """What may answer the same peer's same head from now on."""
        self.later: Later | None = None
        """Where to wait, for a moment, for a better one than this."""

    def copy(self) -> Answer:
        """Return the same answer, to be given in other circumstances."""
        copy = Answer.__new__(Answer)
        copy.status, copy.body, copy.content_type = self.status, self.body, self.content_type
        copy.headers, copy.wire, copy.again, copy.later = self.headers, self.wire, None, None
        return copy

    def rendered(self, *, close: bool = False, body: bool = True) -> bytes:
        """Return the bytes to write when the connection ends, or for HEAD."""
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
    """A request that never reached `answer`, and why (a fixed phrase, nothing of the request)."""

    status: int
    why: str
    peer: str


def plain(refusal: Refusal) -> Answer:
    """Answer a refusal in plain text."""
    return Answer(refusal.status, f"{refusal.why}\n".encode())


@asynccontextmanager
async def listening(
    host: str,
    port: int,
    answer: Callable[[Request], Answer],
    *,
    names: Iterable[str] = (),
    refuse: Callable[[Refusal], Answer] = plain,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Answer requests at one address; yield the address bound (port 0 asks for a free one).

    `answer` is called for every well-formed request without a body, whatever its method, and
    must not block. `names` are hosts to accept beside the bound address and the loopback names,
    with or without a port. Raises OSError when the address cannot be bound.
    """
    listener = _Listener(answer, refuse, limits or Limits())
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(listener), host, port, backlog=listener.limits.backlog
    )
    try:
        bound = server.sockets[0].getsockname()
        listener.named(bound[0], bound[1], names)
        yield bound[0], bound[1]
    finally:
        server.close()
        await listener.closed()


class _Listener:
    """What the connections of one listener share."""

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
        # Clients repeat themselves to the byte, and a head is judged by its bytes alone.
        self.judged: dict[bytes, _Judged] = {}
        self._standing: dict[str, dict[bytes, Again]] = {}
        self._emptied: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0

    def named(self, address: str, port: int, names: Iterable[str]) -> None:
        """Learn which Host headers mean this listener.

        Bound to every address, any address is accepted: a name is what a rebinding attack needs.
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
        """Tell whether a Host header means this listener."""
        host = host.lower()
        return host in self.hosts or (self.any_address and _is_address(host))

    def admit(self, connection: _Connection) -> bool:
        """Make room for a connection, or tell that there is none."""
        if len(self.connections) >= self.limits.connections:
            now = self.loop.time()
            eldest = min(self.connections, key=lambda known: known.waiting_since)
            if now - eldest.waiting_since < self.limits.grace_seconds:
                return False
            self.forget(eldest)
            eldest.transport.abort()
        self.connections.add(connection)
        return True

    def standing(self, peer: str) -> dict[bytes, Again]:
        """Return what stands ready for this peer, and for nobody else."""
        known = self._standing.get(peer)
        if known is None:
            if len(self._standing) >= _STANDING_PEERS:
                del self._standing[next(iter(self._standing))]
            known = self._standing[peer] = {}
        return known

    def forget(self, connection: _Connection) -> None:
        """Strike a connection off."""
        self.connections.discard(connection)
        connection.waits_no_more()
        if not self.connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def watch(self, deadline: float) -> None:
        """See that somebody looks at the deadlines no later than this one.

        One timer for all: deadlines mostly move away, so it is set again only when it fires or
        when an earlier one comes up, and an answered request costs no timer at all.
        """
        if self._timer is not None:
            if self._looks_at <= deadline:
                return
            self._timer.cancel()
        self._looks_at = deadline
        self._timer = self.loop.call_at(deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.loop.time()
        for connection in [known for known in self.connections if known.deadline <= now]:
            connection.expire()
        if self.connections:
            # Not at once: an expired connection may take another turn of the loop to go.
            self.watch(max(min(known.deadline for known in self.connections), now + 0.01))

    async def closed(self) -> None:
        """End every connection: 50 ms to take what is written, then none."""
        for connection in tuple(self.connections):
            connection.transport.close()
        await self._empty(0.05)
        for connection in tuple(self.connections):
            connection.transport.abort()
        await self._empty(0.05)
        if self._timer is not None:
            self._timer.cancel()

    async def _empty(self, timeout: float) -> None:
        if self.connections:
            self._emptied = self.loop.create_future()
            await asyncio.wait([self._emptied], timeout=timeout)


def _is_address(host: str) -> bool:
    """Tell whether a Host is an address, with or without a port, rather than a name."""
    try:
        if host.startswith("["):
            IPv6Address(host[1 : host.index("]")])
        else:
            IPv4Address(host.partition(":")[0])
    except ValueError:
        return False
    return True


class _RefusedError(Exception):
    """A head that is not to be answered."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class _Judged(NamedTuple):
    """A head that passed every check."""

    method: str
    target: str
    headers: Mapping[str, str]
    keep: bool
    """Whether the connection may stay open after the answer."""


class _Head:
    """Reads one head; httptools calls the `on_` methods.

    Each head gets a parser of its own, so that nothing of one request can leak into the next.
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
            self._headers[name] = b""  # two hosts are none

    def on_message_complete(self) -> None:
        self._complete += 1
        self._keep = self._parser.should_keep_alive()  # httptools forgets it right after

    def read(self, head: bytes, listener: _Listener) -> _Judged:
        """Return the request that `head`, up to its empty line, holds. Raises _RefusedError."""
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
        version = self._check_frame(head, headers)
        self._check_sender(headers, listener)
        # An offer to upgrade may be ignored (RFC 9110, 7.8), but httptools reads no further.
        keep = self._keep and not upgrade and version == "1.1"
        return _Judged(method, self._target.decode("ascii"), headers, keep)

    def _check_frame(self, head: bytes, headers: dict[str, str]) -> str:
        """Return the protocol's version, if nothing but this head belongs to the request."""
        line = head.lstrip(b"\r\n").partition(b"\r\n")[0]
        if not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):  # httptools speaks RTSP, too
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
        if any(name in headers for name in _RELAYED):
            raise _RefusedError(403, "relayed requests are not answered")


class _Connection(asyncio.Protocol):
    """One client: cuts heads out of what arrives and answers them in order."""

    __slots__ = (
        "_discarded",
        "_full",
        "_held",
        "_later",
        "_leaving",
        "_listener",
        "_pending",
        "_standing",
        "deadline",
        "peer",
        "transport",
        "waiting_since",
    )

    transport: asyncio.Transport

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self._pending = b""
        self._full = False  # the client does not take its answers
        self._leaving = False  # the last answer is written; what still comes is dropped
        self._discarded = 0
        self._held = b""  # a head whose answer is waited for, and where
        self._later: Later | None = None
        self._standing: dict[bytes, Again] = {}
        self.peer = ""
        self.deadline = 0.0
        self.waiting_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        self.waiting_since = self._listener.loop.time()
        self._until(self.waiting_since + self._listener.limits.head_seconds)
        if not self._listener.admit(self):
            # Answered without being kept: the refusal is small enough for any socket buffer.
            self.transport.write(self._refusal(503, "too many connections"))
            self._leaving = True
            self.transport.close()
            return
        self._standing = self._listener.standing(self.peer)

    def connection_lost(self, _: Exception | None) -> None:
        self._leaving = True
        self._listener.forget(self)

    def data_received(self, data: bytes) -> None:
        # The shortest way, which nearly every request of a busy client takes (ADR 8).
        again = self._standing.get(data)
        if again is not None and not self._pending and not self._full:
            wire = again()
            if wire is not None:
                self.waiting_since = now = self._listener.loop.time()
                self._until(now + self._listener.limits.idle_seconds)
                self.transport.write(wire)
                return
        if self._leaving:
            self._discard(len(data))
            return
        self._pending = self._serve(self._pending + data if self._pending else data)
        if self._leaving or self._held:
            return
        now = self._listener.loop.time()
        if self._full or not self._pending:
            self._until(now + self._listener.limits.idle_seconds)
        elif len(self._pending) <= len(data):  # this head began just now
            self._until(now + self._listener.limits.head_seconds)

    def _serve(self, data: bytes) -> bytes:
        """Answer the whole heads in `data`; return what is left of it."""
        limit = self._listener.limits.head_bytes
        start = 0
        while not self._full and not self._leaving and not self._held:
            found = data.find(_END, start)
            end = found + len(_END)
            if (end if found >= 0 else len(data)) - start > limit:
                self._refuse(431, "the request head is too large")
            elif found < 0:
                break
            else:
                self._answer(data[start:end])
                start = end
        return b"" if self._leaving else data[start:]

    def _answer(self, head: bytes, *, late: bool = False) -> None:
        judged = self._listener.judged.get(head) or self._judge(head)
        if judged is None:
            return
        method, target, headers, keep = judged
        request = Request(method, target, headers, self.peer, late=late)
        try:
            answer = self._listener.answer(request)
        except Exception:
            log.exception("http.request_failed", method=method)
            answer, keep = Answer(500, b"internal error\n"), False
        if answer.later is not None:
            self._wait(head, answer.later)
            return
        self.waiting_since = self._listener.loop.time()
        with_body = method != "HEAD"
        if keep:
            self.transport.write(answer.wire if with_body else answer.rendered(body=False))
            if answer.again is not None and method == "GET":
                self._remember(head, answer.again)
        else:
            self._leave(answer.rendered(close=True, body=with_body))

    def _wait(self, head: bytes, later: Later) -> None:
        """Answer this head when there is something better to say, or after a moment."""
        self._held, self._later = head, later
        later.hold(self)
        self.transport.pause_reading()
        self._until(self._listener.loop.time() + self._listener.limits.patience_seconds)

    def waits_no_more(self) -> None:
        """Forget that an answer was waited for."""
        if self._later is not None:
            self._later.release(self)
        self._held, self._later = b"", None

    def resume(self) -> None:
        """Answer the head that waited, and what came behind it."""
        head = self._held
        self.waits_no_more()
        if self.transport.is_closing():
            return
        self._answer(head, late=True)
        self._pending = self._serve(self._pending)
        if self._leaving or self._held:
            return
        limits = self._listener.limits
        patience = limits.head_seconds if self._pending else limits.idle_seconds
        self._until(self._listener.loop.time() + patience)
        if not self._full and not self.transport.is_closing():
            self.transport.resume_reading()

    def _remember(self, head: bytes, again: Again) -> None:
        """Let `again` answer, should the same peer send the same head once more."""
        if len(head) <= _STANDING_BYTES:
            if len(self._standing) >= _STANDING_HEADS:
                self._standing.clear()
            self._standing[head] = again

    def _judge(self, head: bytes) -> _Judged | None:
        try:
            judged = _Head().read(head, self._listener)
        except _RefusedError as refused:
            self._refuse(refused.status, refused.why)
            return None
        if len(self._listener.judged) >= _JUDGED_HEADS:
            self._listener.judged.clear()
        self._listener.judged[head] = judged
        return judged

    def _refusal(self, status: int, why: str) -> bytes:
        return self._listener.refuse(Refusal(status, why, self.peer)).rendered(close=True)

    def _refuse(self, status: int, why: str) -> None:
        self._leave(self._refusal(status, why))

    def _leave(self, last: bytes) -> None:
        """Write the last answer and wait, briefly, for the client to have read it.

        Closing at once with unread input resets the connection, and the reset may overtake the
        answer (RFC 9112, 9.6).
        """
        self._leaving = True
        self._standing = {}  # nothing stands ready for who leaves
        self._pending = b""
        self.transport.write(last)
        if not self.transport.is_closing():
            self.transport.write_eof()
        limits = self._listener.limits
        patience = limits.idle_seconds if self._full else limits.linger_seconds
        self._until(self._listener.loop.time() + patience)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self._listener.limits.linger_bytes:
            self.transport.abort()

    def _until(self, deadline: float) -> None:
        self.deadline = deadline
        self._listener.watch(deadline)

    def expire(self) -> None:
        """Act on a deadline that passed."""
        if self._leaving or self._full:
            self.transport.abort()
        elif self._held:
            self.resume()
        elif self._pending:
            self._refuse(408, "the request head took too long")
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        self._full = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        if not self._leaving:
            self._pending = self._serve(self._pending)
        if not self._full and not self._held and not self.transport.is_closing():
            self.transport.resume_reading()
