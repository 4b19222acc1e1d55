"""The right to register as the environment brought it: for launchers that know no parameter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sidecar.log import events
from sidecar.tokens import value

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

LIFETIME = 55 * 60.0
"""Seconds from the life's start until it is not relied on any more: it is good for an hour."""


class GivenToken:
    """A token that was handed over. Nobody can take it back: it ends by itself."""

    def __init__(self, text: str, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._text = text
        self._where = where
        self._clock = clock
        self._since = clock()

    async def arrived(self, timeout: float) -> value.RegistrationToken:  # noqa: ARG002  it is here
        """Read what was given; raises TokenError that never quotes it."""
        right = value.parse(self._text, self._where)
        events.hide(self._text.strip())
        if right.token:
            events.hide(right.token)
        return right

    def usable(self, now: datetime | None = None) -> bool:  # noqa: ARG002  its age counts
        """Whether GitHub still takes it, made when the task was."""
        return self._clock() - self._since < LIFETIME

    def served(self) -> None:
        """Do nothing: there is nothing to delete."""
