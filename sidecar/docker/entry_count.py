"""Count the objects and entries of a JSON body while it comes, before anything is built of it.

A byte of JSON may become hundreds of bytes of Python, and a body is judged entry by entry. So the
limit is on what would be built, and a body that has more is refused before all of it has come.
"""

from __future__ import annotations

MAX_ENTRIES = 16_384
"""Objects, lists and entries of one body. A container with 2,700 published ports has so many."""
ENTRY_SIZE = 512
"""Bytes that one of them takes at most while it is judged, beside its text."""


class TooManyEntries(Exception):
    """A body has more objects and entries than can be checked."""

    def __init__(self) -> None:
        super().__init__(f"the body has more than the {MAX_ENTRIES} entries that can be checked")


class EntryCount:
    """The objects, lists and entries of one body that comes in pieces.

    What is no JSON may be counted wrongly: the parser refuses it later.
    """

    __slots__ = ("_escaped", "_quoted", "entries")

    def __init__(self) -> None:
        self.entries = 0
        self._quoted = False
        """True if the next piece begins within a string."""
        self._escaped = False
        """True if the next piece begins with an escaped character."""

    def feed(self, piece: bytes | bytearray) -> int:
        """Count a piece; return how many it has. Raises TooManyEntries."""
        plain = bytes(piece[1:] if self._escaped and piece else piece)
        if piece:
            plain = plain.replace(b"\\\\", b"")
            self._escaped = plain.endswith(b"\\")
            plain = plain.replace(b'\\"', b"")
        # An entry has two strings at most: so many more would be too many to be taken apart.
        if plain.count(b'"') > 4 * MAX_ENTRIES + 4:
            raise TooManyEntries
        parts = plain.split(b'"')
        unquoted = b"".join(parts[1::2] if self._quoted else parts[::2])
        self._quoted ^= len(parts) % 2 == 0
        found = sum(unquoted.count(mark) for mark in (b",", b"{", b"["))
        self.entries += found
        if self.entries > MAX_ENTRIES:
            raise TooManyEntries
        return found
