"""A stream of bytes cut into lines that are safe to log: bounded, decoded, escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 8192
"""Bytes of a line that are kept; of the rest only the number is told."""


class Lines:
    """Cuts what it is fed into lines and hands each, made safe, to `hear`."""

    def __init__(self, hear: Callable[[str], None], limit: int = LIMIT) -> None:
        self._hear = hear
        self._limit = limit
        self._held = bytearray()
        self._cut = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; memory stays bounded however long a line is."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._hold(piece)
            self._flush()
        self._hold(rest)

    def end(self) -> None:
        """Hand over what came without a line end."""
        if self._held or self._cut:
            self._flush()

    def _hold(self, piece: bytes) -> None:
        room = self._limit - len(self._held)
        self._held += piece[:room]
        self._cut += max(0, len(piece) - room)

    def _flush(self) -> None:
        text = printable(self._held.decode("utf-8", "replace").rstrip("\r"))
        if self._cut:
            text += f" [{self._cut} bytes cut]"
        self._held.clear()
        self._cut = 0
        if text:
            self._hear(text)


def printable(text: str) -> str:
    r"""Escape what could move a terminal's cursor or forge a line: ESC becomes `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode()
        for char in text
    )
