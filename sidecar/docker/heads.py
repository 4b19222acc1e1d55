"""Heads of HTTP/1.x messages, read for what tells where the message ends; their bytes stay raw.

The engine is Go's net/http, and a request is read here as it is read there. Whatever has two
readings is refused: a request that the proxy sees elsewhere than the engine does would pass by it.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from sidecar.docker.bodies import Body, Chunked, Counted, Endless

MOST = 1 << 20
"""Bytes of a head, as many as Go's net/http takes."""
PRIOR_KNOWLEDGE = b"PRI * HTTP/2.0\r\n\r\n"
"""What a client begins with that speaks HTTP/2 without having asked (RFC 9113, 3.4)."""

_END = re.compile(rb"\n\r?\n")
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])")
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9][0-9])(?: .*)?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_VERSIONED = re.compile(r"/v[0-9][0-9A-Za-z.+-]*(?=/)")
_FRAMING = (b"content-length", b"transfer-encoding")


class Malformed(Exception):
    """A head that is not passed on; `status` is what it is answered with."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def end(head: bytes | bytearray, start: int = 0) -> int:
    """Return where the head ends, behind its empty line; -1: not yet.

    Up to `start` there is no end. Lines may end without CR, as Go takes them.
    """
    found = _END.search(head, max(0, start - 3))
    return found.end() if found else -1


def bounded(head: bytes | bytearray) -> None:
    """Raise Malformed if there is too much of it."""
    if len(head) > MOST:
        raise Malformed(431, "the request's head is too long")


class Request(NamedTuple):
    """What is known of a request by its head."""

    raw: bytes
    method: str
    path: str
    """Decoded, without the API's version, in one form; for judging, never to be passed on."""
    query: str
    fields: tuple[tuple[bytes, bytes], ...]
    """Names in lower case."""
    minor: int
    """1 for HTTP/1.1."""

    def values(self, name: bytes) -> list[bytes]:
        """Return all values of one field."""
        return [value for known, value in self.fields if known == name]

    @property
    def expects(self) -> bool:
        """Whether the client waits for a word before it sends the body."""
        return self.minor > 0 and b"100-continue" in [v.lower() for v in self.values(b"expect")]

    @property
    def has_frame(self) -> bool:
        """Whether its body comes in more than its own bytes, or is waited for."""
        return any(name in (b"transfer-encoding", b"expect") for name, _ in self.fields)

    def body(self) -> Body:
        """Return how its body is framed. Raises Malformed."""
        length, coding = self.values(b"content-length"), self.values(b"transfer-encoding")
        if coding:
            if length:
                raise Malformed(400, "both Content-Length and Transfer-Encoding are given")
            if self.minor == 0:
                raise Malformed(400, "HTTP/1.0 knows no Transfer-Encoding")
            if [value.lower() for value in coding] != [b"chunked"]:
                raise Malformed(501, "only the transfer encoding chunked is known")
            return Chunked()
        return Counted(_length(length))

    def with_body(self, body: bytes) -> bytes:
        """Return the same request with another body, of known length."""
        lines = self.raw.splitlines(keepends=True)
        # A client that was told to go on is not told again; what else it expects the engine judges.
        dropped = (*_FRAMING, b"expect") if self.expects else _FRAMING
        kept = [line for line in lines[:-1] if _name(line) not in dropped]
        return b"".join((*kept, b"Content-Length: %d\r\n\r\n" % len(body), body))


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _length(values: list[bytes]) -> int:
    if not values:
        return 0
    if len(set(values)) > 1 or not _DIGITS.fullmatch(values[0]):
        raise Malformed(400, "the Content-Length is no number, or more than one")
    return int(values[0])


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not (colon and _NAME.fullmatch(name)) or b"\0" in value or b"\r" in value:
            raise Malformed(400, "malformed header field")
        fields.append((name.lower(), value.strip(b" \t")))
    return tuple(fields)


def _lines(raw: bytes) -> list[bytes]:
    """Return the lines of a head, without their ends and the empty one."""
    return [line.removesuffix(b"\r") for line in raw.split(b"\n")[:-2]]


def request(raw: bytes) -> Request:
    """Read a request's head. Raises Malformed."""
    bounded(raw)
    first, *rest = _lines(raw)
    found = _REQUEST.fullmatch(first)
    if found is None:
        spoken = first.rpartition(b" ")[2]
        if spoken.startswith(b"HTTP/") and spoken[5:7] != b"1.":
            raise Malformed(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        raise Malformed(400, "malformed request line")
    target = found[2].decode("latin-1")
    if (origin := _ORIGIN.match(target)) is not None:
        target = target[origin.end() :]
    path, _, query = target.partition("?")
    return Request(raw, found[1].decode(), _plain(path), query, _fields(rest), int(found[3]))


def _plain(path: str) -> str:
    """Return a path in one form: whatever is written so may be taken for this by the engine."""
    words: list[str] = []
    for word in unquote(path, "latin-1").split("/"):
        if word == "..":
            words = words[:-1]
        elif word not in ("", "."):
            words.append(word)
    plain = "/" + "/".join(words)
    version = _VERSIONED.match(plain)
    return plain if version is None else plain[version.end() :]


class Response(NamedTuple):
    """What is known of an answer by its head."""

    status: int
    body: Body

    @property
    def interim(self) -> bool:
        """Whether another one follows for the same request."""
        return 100 <= self.status < 200 and self.status != 101


def response(raw: bytes, method: str) -> Response:
    """Read the head of an answer to `method`; what cannot be read goes on to the end.

    One that goes on to the end of the connection is also what hijacks it.
    """
    first, *rest = _lines(raw)
    found = _STATUS.fullmatch(first)
    if found is None:
        return Response(0, Endless())
    status = int(found[1])
    if status == 101:
        return Response(status, Endless())
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Response(status, Counted(0))
    try:
        fields = dict(_fields(rest))
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return Response(status, Chunked())
        if b"content-length" in fields:
            return Response(status, Counted(_length([fields[b"content-length"]])))
    except Malformed:
        pass
    return Response(status, Endless())
