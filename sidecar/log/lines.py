"""Cut a stream of bytes into lines that are safe to log: bounded, decoded, escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 8192
"""Bytes of a line that are kept; of the rest only the number is reported."""


class Lines:
    """Cuts the bytes that it is fed into lines, makes each safe and calls `take_line` with it."""

    def __init__(self, take_line: Callable[[str], None], limit: int = LIMIT) -> None:
        self._take_line = take_line
        self._limit = limit
        self._kept = bytearray()
        self._cut = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; memory stays bounded however long a line is."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._keep(piece)
            self._flush()
        self._keep(rest)

    def end(self) -> None:
        """Take what came without a line end as the last line."""
        if self._kept or self._cut:
            self._flush()

    def _keep(self, piece: bytes) -> None:
        room = self._limit - len(self._kept)
        self._kept += piece[:room]
        self._cut += max(0, len(piece) - room)

    def _flush(self) -> None:
        text = escape(self._kept.decode("utf-8", "replace").rstrip("\r"))
        if self._cut:
            text += f" [{self._cut} bytes cut]"
        self._kept.clear()
        self._cut = 0
        if text:
            self._take_line(text)


def escape(text: str) -> str:
    r"""Escape what could move a terminal's cursor or forge a line: ESC becomes `\x1b`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == "\t" else char.encode("unicode_escape").decode()
        for char in text
    )
