"""Limit how much text from outside goes into the log, so that nobody can fill it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RATE = 32 * 1024
"""Bytes a second that may be logged for ever: some hundred usual lines."""
BURST = 1 << 20
"""Bytes that may be logged at once: a program that starts, or fails, has much to say."""
AROUND = 200
"""Bytes that the log adds to each line."""


class LineLimit:
    """Decides which lines are logged: as many bytes as have been earned since the start.

    `now` returns seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.left_out = 0
        """Lines that were not logged."""
        self._now = now
        self._earned = float(BURST)
        self._since = now()

    def admit(self, line: str) -> bool:
        """Return whether this line may be logged; else it is counted."""
        now = self._now()
        self._earned = min(BURST, self._earned + (now - self._since) * RATE)
        self._since = now
        cost = len(line) + AROUND
        if self._earned < cost:
            self.left_out += 1
            return False
        self._earned -= cost
        return True
