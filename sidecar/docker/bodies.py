"""Where a message's body ends: counted, chunked, or with the connection (RFC 9112, 6 and 7)."""

from __future__ import annotations

import re
from typing import Protocol

_MOST_LINE = 4096
"""Bytes of a chunk's first line, and of one in a trailer: Go's net/http takes as many."""
_LINE = 64
"""Bytes that are looked through for a line's end at a time."""
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00\r]*)?")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r]*")


_CR, _LF = b"\r\n"
_UNEVEN = "a chunk does not end where it says"


class Misframed(Exception):
    """A body that has no known end."""


class Body(Protocol):
    """The body that is being passed on."""

    @property
    def done(self) -> bool:
        """Whether all of it was seen."""
        ...

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Return how many bytes of `data` belong to it, up to its end.

        Its content, without what frames it, is added to `into`. Raises Misframed.
        """
        ...


class Counted:
    """A body of known length."""

    def __init__(self, length: int) -> None:
        self.left = length

    @property
    def done(self) -> bool:
        """Whether all of it was seen."""
        return self.left == 0

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Take what is left, or all there is."""
        taken = min(self.left, len(data))
        self.left -= taken
        if into is not None:
            into += data[:taken]
        return taken


class Endless:
    """A body that ends with its connection."""

    done = False

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Take all."""
        if into is not None:
            into += data
        return len(data)


class Chunked:
    """A chunked body, with its trailer."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        """Bytes of the chunk, with the line end behind it."""
        self._line = bytearray()
        """A line that is not complete yet."""
        self._trailer = False

    def take(self, data: memoryview, into: bytearray | None = None) -> int:
        """Go from chunk to chunk."""
        at, size = 0, len(data)
        while at < size and not self.done:
            if into is None and 2 <= self._left <= size - at:  # most chunks come whole
                at += self._left
                if data[at - 2] != _CR or data[at - 1] != _LF:
                    raise Misframed(_UNEVEN)
                self._left = 0
            elif self._left:
                at += self._content(data[at:], into)
            else:
                at += self._to_line_end(data[at:])
        return at

    def _content(self, data: memoryview, into: bytearray | None) -> int:
        taken = min(self._left, len(data))
        inner = min(taken, max(0, self._left - 2))
        if into is not None:
            into += data[:inner]
        if taken > inner:  # what stands behind a chunk is a line end and nothing else
            begun = 2 - (self._left - inner)
            if bytes(data[inner:taken]) != b"\r\n"[begun : begun + taken - inner]:
                raise Misframed(_UNEVEN)
        self._left -= taken
        return taken

    def _to_line_end(self, data: memoryview) -> int:
        piece = bytes(data[:_LINE])
        at = piece.find(b"\n")
        self._line += piece if at < 0 else piece[: at + 1]
        if len(self._line) > _MOST_LINE:
            raise Misframed("a line of a chunked body is too long")
        if at < 0:
            return len(piece)
        line, self._line = bytes(self._line), bytearray()
        if not line.endswith(b"\r\n"):
            raise Misframed("a line of a chunked body ends without CR")
        self._heard(line[:-2])
        return at + 1

    def _heard(self, line: bytes) -> None:
        if self._trailer:
            if line and not _FIELD.fullmatch(line):
                raise Misframed("malformed trailer")
            self.done = not line
            return
        found = _SIZE.fullmatch(line)
        if found is None:
            raise Misframed("malformed chunk")
        size = int(found[1], 16)
        self._trailer = size == 0
        self._left = size + 2 if size else 0
