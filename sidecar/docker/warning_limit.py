"""Limit the warnings about what a job asks for: they flood neither the log nor the memory.

A job chooses the names in them, and may ask as often as it likes. So each text is cut, is logged
once while it is remembered, and has only so many lines a minute with the others of its kind. The
oldest texts are forgotten; the next line says how many were not logged.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = 60.0
"""Seconds in which a kind has so many lines."""
MAX_LINES = 16
"""Lines of one kind in that time."""
MAX_TEXTS = 64
"""Texts of one kind that are remembered."""
MAX_KINDS = 32
"""Kinds that are remembered."""
MAX_TEXT = 256
"""Characters of a text."""


def shorten(text: str) -> str:
    """Return a text that comes from outside, cut so that it can be logged and remembered."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]}... ({len(text)} characters)"


class _Kind:
    """The warnings of one kind."""

    __slots__ = ("began", "lines", "texts", "unsaid")

    def __init__(self) -> None:
        self.began = float("-inf")
        self.lines = 0
        self.texts: OrderedDict[str, None] = OrderedDict()
        self.unsaid = 0
        """Warnings that no line tells of."""


class WarningLimit:
    """The warnings of one agent, by their kinds. One kind leaves room for the others."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kinds: OrderedDict[str, _Kind] = OrderedDict()

    def admit(self, kind: str, text: str) -> dict[str, int] | None:
        """Return counts to log with a warning; None if it is not to be logged.

        That is if its text was logged, or if its kind has no line left. `text` tells two warnings
        of a kind apart. Facts that come from outside are cut by `shorten`.
        """
        known, text = self._find(kind), shorten(text)
        if text in known.texts:
            known.texts.move_to_end(text)
            return None
        now = self._now()
        if now - known.began >= EVERY:
            known.began, known.lines = now, 0
        if known.lines >= MAX_LINES:
            known.unsaid += 1
            return None
        known.lines += 1
        known.texts[text] = None
        if len(known.texts) > MAX_TEXTS:
            known.texts.popitem(last=False)
        unsaid, known.unsaid = known.unsaid, 0
        return {"unsaid": unsaid} if unsaid else {}

    def _find(self, kind: str) -> _Kind:
        kind = shorten(kind)
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = _Kind()
            if len(self._kinds) > MAX_KINDS:
                _, forgotten = self._kinds.popitem(last=False)
                known.unsaid += forgotten.unsaid
        self._kinds.move_to_end(kind)
        return known
