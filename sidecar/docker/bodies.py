"""Follow an HTTP body to its end: by its length, its chunks, or the connection's end.

Source: RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import re
from typing import Protocol

_MAX_LINE = 4096
"""Bytes of a chunk's first line, and of a trailer's line: the limit of Go's net/http."""
_LINE_PIECE = 64
"""Bytes that are searched for a line end at a time."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00\r]*)?")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r]*")


_CR, _LF = b"\r\n"
_BAD_CHUNK_END = "a chunk does not end where its size says"


class FramingError(Exception):
    """The end of a body cannot be found."""


class Body(Protocol):
    """A body whose bytes are passed on as they come."""

    @property
    def done(self) -> bool:
        """Whether all of the body has come."""
        ...

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Return how many bytes of `data` belong to the body, up to its end.

        Its content, without chunk sizes and trailer, is added to `into`. Raises FramingError.
        """
        ...


class FixedLengthBody:
    """A body with a Content-Length."""

    def __init__(self, length: int) -> None:
        self.remaining = length

    @property
    def done(self) -> bool:
        """Whether all of the body has come."""
        return self.remaining == 0

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Take up to the remaining length."""
        taken = min(self.remaining, len(data))
        self.remaining -= taken
        if into is not None:
            into += data[:taken]
        return taken


class UntilCloseBody:
    """A body that ends when its connection ends."""

    done = False

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Take all of `data`."""
        if into is not None:
            into += data
        return len(data)


class ChunkedBody:
    """A body with Transfer-Encoding: chunked, and its trailer."""

    def __init__(self) -> None:
        self.done = False
        self._remaining = 0
        """Bytes of the current chunk that have not come, with the line end after it."""
        self._line = bytearray()
        """A line that is not complete yet."""
        self._trailer = False

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Take chunk after chunk, up to the end of the trailer."""
        at, size = 0, len(data)
        while at < size and not self.done:
            if into is None and 2 <= self._remaining <= size - at:  # most chunks come whole
                at += self._remaining
                if data[at - 2] != _CR or data[at - 1] != _LF:
                    raise FramingError(_BAD_CHUNK_END)
                self._remaining = 0
            elif self._remaining:
                at += self._take_chunk(data[at:], into)
            else:
                at += self._take_line(data[at:])
        return at

    def _take_chunk(self, data: memoryview, into: bytearray | None) -> int:
        taken = min(self._remaining, len(data))
        content = min(taken, max(0, self._remaining - 2))
        if into is not None:
            into += data[:content]
        if taken > content:  # only a line end may follow a chunk
            seen = 2 - (self._remaining - content)
            if bytes(data[content:taken]) != b"\r\n"[seen : seen + taken - content]:
                raise FramingError(_BAD_CHUNK_END)
        self._remaining -= taken
        return taken

    def _take_line(self, data: memoryview) -> int:
        piece = bytes(data[:_LINE_PIECE])
        at = piece.find(b"\n")
        self._line += piece if at < 0 else piece[: at + 1]
        if len(self._line) > _MAX_LINE:
            raise FramingError("a line of a chunked body is too long")
        if at < 0:
            return len(piece)
        line, self._line = bytes(self._line), bytearray()
        if not line.endswith(b"\r\n"):
            raise FramingError("a line of a chunked body ends without CR")
        self._read_line(line[:-2])
        return at + 1

    def _read_line(self, line: bytes) -> None:
        if self._trailer:
            if line and not _FIELD.fullmatch(line):
                raise FramingError("malformed trailer")
            self.done = not line
            return
        match = _SIZE.fullmatch(line)
        if match is None:
            raise FramingError("malformed chunk")
        size = int(match[1], 16)
        self._trailer = size == 0
        self._remaining = size + 2 if size else 0
