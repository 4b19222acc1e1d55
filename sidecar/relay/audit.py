"""Who got credentials and who was turned away: all of it told, yet nobody can flood the log.

The first answer of each version to each peer is an event, and so is the first refusal of each kind;
repeats are counted, and told with the next event of the same kind, at most once a minute.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.aws.container_credentials import Credentials

log = structlog.get_logger()

EVERY = 60.0
"""Seconds between two events of the same kind."""
_KINDS = 1024
"""How many kinds are remembered; the one that was seen longest ago makes room."""
_EVENTS = 240
"""A minute, of all kinds together: whoever has many addresses has no more lines than that."""


class Kind:
    """One kind of event: who, by which face, with which outcome."""

    __slots__ = ("quiet_until", "repeats", "version")

    def __init__(self) -> None:
        self.version: object = None
        self.quiet_until = float("-inf")
        self.repeats = 0
        """Since the last event."""


class Audit:
    """Tells who got what; the same rules for answers and refusals."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kinds: OrderedDict[tuple[str, ...], Kind] = OrderedDict()
        self._minute = float("-inf")
        self._told = 0
        self._unsaid = 0
        """Requests, of whichever kind, that no event tells of."""

    def answered(
        self, peer: str, face: str, container: str | None, decision: str, held: Credentials
    ) -> Kind:
        """Note that a peer got credentials; return where the same again is to be counted.

        `decision` says on which ground.
        """
        kind = self._kind("answered", peer, face, container or "")
        if kind.version is not held:
            kind.version = held
            kind.quiet_until = float("-inf")
        if self._due(kind):
            log.info(
                "relay.answered",
                peer=peer,
                container=container,
                face=face,
                decision=decision,
                key_end=held.key_end,
                seconds_left=round(held.expires_at - self._now()),
                **self._counted(kind),
            )
        return kind

    def refused(self, peer: str, face: str, container: str | None, why: str) -> None:
        """Note that a peer was turned away; `why` is one of a few fixed phrases."""
        kind = self._kind("refused", peer, face, container or "", why)
        if self._due(kind):
            log.warning(
                "relay.refused",
                why=why,
                peer=peer,
                container=container,
                face=face,
                **self._counted(kind),
            )

    def _kind(self, *key: str) -> Kind:
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _KINDS:
                _, gone = self._kinds.popitem(last=False)
                self._unsaid += gone.repeats
            kind = self._kinds[key] = Kind()
        self._kinds.move_to_end(key)
        return kind

    def _due(self, kind: Kind) -> bool:
        """Tell whether this one is an event; else it is counted."""
        now = self._now()
        if now < kind.quiet_until:
            kind.repeats += 1
            return False
        if not self._room(now):
            self._unsaid += 1
            return False
        kind.quiet_until = now + EVERY
        return True

    def _counted(self, kind: Kind) -> dict[str, int]:
        """Return what this event makes up for, and begin to count anew."""
        counted = {"repeats": kind.repeats, "unsaid": self._unsaid}
        kind.repeats = self._unsaid = 0
        return counted

    def _room(self, now: float) -> bool:
        if now - self._minute >= EVERY:
            self._minute, self._told = now, 0
        self._told += 1
        return self._told <= _EVENTS
