"""Parse the heads of HTTP/1.x messages, to know where each message ends.

The engine uses Go's net/http, and a request is parsed here as it is there. A request that can be
read in two ways is refused: one that proxy and engine read differently could pass unchecked.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from sidecar.docker.bodies import Body, ChunkedBody, FixedLengthBody, UntilCloseBody

MAX_HEAD = 1 << 20
"""Bytes of a head: the limit of Go's net/http."""
MAX_PATH = 8192
"""Bytes of a path. It holds the name of an image at most."""
MAX_LINES = 1024
"""Lines of a head."""
PRIOR_KNOWLEDGE = b"PRI * HTTP/2.0\r\n\r\n"
"""The first bytes of a client that uses HTTP/2 without an upgrade (RFC 9113, 3.4)."""

_END = re.compile(rb"\n\r?\n")
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])")
_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9][0-9])(?: .*)?")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_VERSIONED = re.compile(r"/v[0-9][0-9A-Za-z.+-]*(?=/)")
_FRAMING = (b"content-length", b"transfer-encoding")


class MalformedHead(Exception):
    """A head is not passed on; `status` is that of the error response."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def find_end(head: bytes | bytearray, start: int = 0) -> int:
    """Return the index after the head's empty line; -1 if it has not come yet.

    The caller has searched up to `start` already. Lines may end without CR, as in Go.
    """
    match = _END.search(head, max(0, start - 3))
    return match.end() if match else -1


def check_length(head: bytes | bytearray) -> None:
    """Raise MalformedHead if the head is too long."""
    if len(head) > MAX_HEAD:
        raise MalformedHead(431, "the request's head is too long")


class RequestHead(NamedTuple):
    """The parts of a request's head that the proxy needs."""

    raw: bytes
    method: str
    path: str
    """Decoded and normalized, without the API's version. Only for checks: it is never passed on."""
    query: str
    fields: tuple[tuple[bytes, bytes], ...]
    """Header names, in lower case, and values."""
    minor: int
    """The minor version: 1 for HTTP/1.1."""

    def values(self, name: bytes) -> list[bytes]:
        """Return all values of one header."""
        return [value for known, value in self.fields if known == name]

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends the body."""
        return self.minor > 0 and b"100-continue" in [v.lower() for v in self.values(b"expect")]

    @property
    def ends_connection(self) -> bool:
        """True if the client sends no request after this one, and waits for the connection's end.

        RFC 9112, 9.3.
        """
        words = {
            word.strip().lower()
            for value in self.values(b"connection")
            for word in value.split(b",")
        }
        return b"close" in words or (self.minor == 0 and b"keep-alive" not in words)

    @property
    def needs_new_frame(self) -> bool:
        """Whether the head must be written anew to go with a body that is complete."""
        return any(name in (b"transfer-encoding", b"expect") for name, _ in self.fields)

    def make_body(self) -> Body:
        """Return the body that follows this head. Raises MalformedHead."""
        length, coding = self.values(b"content-length"), self.values(b"transfer-encoding")
        if coding:
            if length:
                raise MalformedHead(400, "both Content-Length and Transfer-Encoding are given")
            if self.minor == 0:
                raise MalformedHead(400, "HTTP/1.0 knows no Transfer-Encoding")
            if [value.lower() for value in coding] != [b"chunked"]:
                raise MalformedHead(501, "only the transfer encoding chunked is known")
            return ChunkedBody()
        return FixedLengthBody(_length(length))

    def with_body(self, body: bytes) -> bytes:
        """Return the same request with another body, of fixed length.

        A client that sent none names no type, and the engine wants one for JSON.
        """
        lines = self.raw.splitlines(keepends=True)
        # The client has got its 100 Continue already. Other expectations are for the engine to
        # answer.
        dropped = (*_FRAMING, b"expect") if self.expects_continue else _FRAMING
        kept = [line for line in lines[:-1] if _name(line) not in dropped]
        if body and self.make_body().done and not self.values(b"content-type"):
            kept.append(b"Content-Type: application/json\r\n")
        return b"".join((*kept, b"Content-Length: %d\r\n\r\n" % len(body), body))


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


def _length(values: list[bytes]) -> int:
    if not values:
        return 0
    if len(set(values)) > 1 or not _DIGITS.fullmatch(values[0]):
        raise MalformedHead(400, "the Content-Length is no number, or more than one")
    return int(values[0])


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not (colon and _NAME.fullmatch(name)) or b"\0" in value or b"\r" in value:
            raise MalformedHead(400, "malformed header field")
        fields.append((name.lower(), value.strip(b" \t")))
    return tuple(fields)


def _lines(raw: bytes) -> list[bytes]:
    """Return the lines of a head without their line ends, and without the empty line."""
    return [line.removesuffix(b"\r") for line in raw.split(b"\n")[:-2]]


def parse_request(raw: bytes) -> RequestHead:
    """Parse a request's head. Raises MalformedHead."""
    check_length(raw)
    if raw.count(b"\n") > MAX_LINES:
        raise MalformedHead(431, "the request's head has too many lines")
    first, *rest = _lines(raw)
    match = _REQUEST.fullmatch(first)
    if match is None:
        spoken = first.rpartition(b" ")[2]
        if spoken.startswith(b"HTTP/") and spoken[5:7] != b"1.":
            raise MalformedHead(505, "only HTTP/1.1 and HTTP/1.0 are supported")
        raise MalformedHead(400, "malformed request line")
    target = match[2].decode("latin-1")
    if (origin := _ORIGIN.match(target)) is not None:
        target = target[origin.end() :]
    path, _, query = target.partition("?")
    if len(path) > MAX_PATH:
        raise MalformedHead(414, "the request's path is too long")
    return RequestHead(
        raw, match[1].decode(), _normalize(path), query, _fields(rest), int(match[3])
    )


def _normalize(path: str) -> str:
    """Return a path in one form, for all spellings that the engine may take for the same."""
    words: list[str] = []
    for word in unquote(path, "latin-1").split("/"):
        if word == "..":
            words = words[:-1]
        elif word not in ("", "."):
            words.append(word)
    plain = "/" + "/".join(words)
    version = _VERSIONED.match(plain)
    return plain if version is None else plain[version.end() :]


class ResponseHead(NamedTuple):
    """The parts of a response's head that the proxy needs."""

    status: int
    body: Body

    @property
    def interim(self) -> bool:
        """Whether another head follows for the same request."""
        return 100 <= self.status < 200 and self.status != 101


def parse_response(raw: bytes, method: str) -> ResponseHead:
    """Parse the head of a response to `method`; if that fails, it lasts until the connection's end.

    A hijacked connection looks like a response that lasts until the connection's end.
    """
    first, *rest = _lines(raw)
    match = _STATUS.fullmatch(first)
    if match is None:
        return ResponseHead(0, UntilCloseBody())
    status = int(match[1])
    if status == 101:
        return ResponseHead(status, UntilCloseBody())
    if method == "HEAD" or status < 200 or status in (204, 304):
        return ResponseHead(status, FixedLengthBody(0))
    try:
        fields = dict(_fields(rest))
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return ResponseHead(status, ChunkedBody())
        if b"content-length" in fields:
            return ResponseHead(status, FixedLengthBody(_length([fields[b"content-length"]])))
    except MalformedHead:
        pass
    return ResponseHead(status, UntilCloseBody())
