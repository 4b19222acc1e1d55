"""Who was turned away, and why: logged, yet nobody can flood the log by being refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

_EVERY = 60.0
"""Seconds between two events of the same kind."""


class Refusals:
    """Counts refusals by kind; the kinds are few and fixed, so this cannot grow."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._quiet: dict[str, tuple[float, int]] = {}  # kind: until when, and how many since

    def note(self, why: str, peer: str) -> None:
        """Log this refusal, or count it for the next event of its kind."""
        now = self._now()
        until, unsaid = self._quiet.get(why, (0.0, 0))
        if now < until:
            self._quiet[why] = (until, unsaid + 1)
            return
        self._quiet[why] = (now + _EVERY, 0)
        log.warning("relay.refused", why=why, peer=peer, unsaid=unsaid)
