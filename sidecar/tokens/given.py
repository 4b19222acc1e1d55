"""A registration token from the environment, for launchers that write no parameter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sidecar.tokens import value

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

LIFETIME = 55 * 60.0
"""Seconds from the life's start until it is not used any more; GitHub accepts it for an hour."""


class GivenToken:
    """A token that the environment gave. It cannot be deleted: it expires."""

    def __init__(self, text: str, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._text = text
        self._where = where
        self._clock = clock
        self._since = clock()

    async def wait(self, timeout: float) -> value.RegistrationToken:  # noqa: ARG002  it is here
        """Read the token. Raises TokenError, which never shows it."""
        token = value.parse_token(self._text, self._where)
        value.hide(self._text, token)
        return token

    def is_usable(self, now: datetime | None = None) -> bool:  # noqa: ARG002  its age counts
        """Whether GitHub still accepts it, if it was made when the task was."""
        return self._clock() - self._since < LIFETIME

    def delete_soon(self) -> None:
        """Do nothing: there is nothing to delete."""
