"""Log who got credentials and who was refused, in a way that cannot flood the log.

The first answer with each version of the credentials to each peer is an event, and so is the first
refusal of each kind. Repeats are counted; the next event of the same kind reports them, at most
once a minute.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.aws.container_credentials import Credentials

log = structlog.get_logger()

EVERY = 60.0
"""Seconds between two events of the same kind."""
_KINDS = 1024
"""How many kinds are kept; the least recently seen one is removed first."""
_EVENTS = 240
"""Events a minute of answers, and of refusals: many addresses do not make more lines than that."""
_NETWORK_EVENTS = 120
"""Of these, for the peers of one network: one that has all its addresses leaves room for others."""
_PEER_EVENTS = 24
"""Of these, for one peer."""


_NO_JOB: Mapping[str, str | None] = MappingProxyType({})


class Kind:
    """One kind of event: peer, protocol and outcome."""

    __slots__ = ("quiet_until", "repeats", "version")

    def __init__(self) -> None:
        self.version: object = None
        self.quiet_until = float("-inf")
        self.repeats = 0
        """Requests since the last event."""


class Audit:
    """Writes the events, by the same rules for answers and refusals."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kinds: OrderedDict[tuple[str, ...], Kind] = OrderedDict()
        self._minute_began = float("-inf")
        self._events: Counter[tuple[str, ...]] = Counter()
        """Events in this minute, by each of the limits that they count for."""
        self._unsaid = 0
        """Requests, of any kind, that no event reports."""

    def answered(
        self,
        peer: str,
        protocol: str,
        container: str | None,
        decision: str,
        credentials: Credentials,
        job: Mapping[str, str | None] = _NO_JOB,
    ) -> Kind:
        """Record that a peer got credentials; return the kind that counts its repeats.

        `decision` says what identified the client, `job` whose they are: the job and its rule.
        """
        kind = self._kind("answered", peer, protocol, container or "")
        if kind.version is not credentials:
            kind.version = credentials
            kind.quiet_until = float("-inf")
        if self._due(kind, "answered", peer):
            log.info(
                "relay.answered",
                peer=peer,
                container=container,
                face=protocol,
                decision=decision,
                role=credentials.role_arn,
                **job,
                key_end=credentials.key_end,
                seconds_left=round(credentials.expires_at - self._now()),
                **self._take_counts(kind),
            )
        return kind

    def refused(self, peer: str, protocol: str, container: str | None, reason: str) -> None:
        """Record that a peer was refused; `reason` is one of a few fixed phrases."""
        kind = self._kind("refused", peer, protocol, container or "", reason)
        if self._due(kind, "refused", peer):
            log.warning(
                "relay.refused",
                reason=reason,
                peer=peer,
                container=container,
                face=protocol,
                **self._take_counts(kind),
            )

    def _kind(self, *key: str) -> Kind:
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _KINDS:
                _, removed = self._kinds.popitem(last=False)
                self._unsaid += removed.repeats
            kind = self._kinds[key] = Kind()
        self._kinds.move_to_end(key)
        return kind

    def _due(self, kind: Kind, outcome: str, peer: str) -> bool:
        """Return whether an event is due; else count the request."""
        now = self._now()
        if now < kind.quiet_until:
            kind.repeats += 1
            return False
        if not self._has_room(now, outcome, peer):
            self._unsaid += 1
            return False
        kind.quiet_until = now + EVERY
        return True

    def _take_counts(self, kind: Kind) -> dict[str, int]:
        """Return the counts for this event, and set them to zero."""
        counted = {"repeats": kind.repeats, "unsaid": self._unsaid}
        kind.repeats = self._unsaid = 0
        return counted

    def _has_room(self, now: float, outcome: str, peer: str) -> bool:
        """Count an event; return False, and count none, where one of its limits is reached."""
        if now - self._minute_began >= EVERY:
            self._minute_began = now
            self._events.clear()
        network = find_network(peer)
        limits = {
            (outcome, network): _NETWORK_EVENTS,
            (outcome, network, peer): _PEER_EVENTS,
        }
        if network != LOOPBACK:  # a job's own steps: they keep their room whatever containers do
            limits[outcome,] = _EVENTS
        if any(self._events[key] >= most for key, most in limits.items()):
            return False
        self._events.update(limits.keys())
        return True


LOOPBACK = "loopback"


def find_network(peer: str) -> str:
    """Return the network of a peer, as far as its address says: a docker network has a /16."""
    if peer == "::1" or peer.startswith("127."):
        return LOOPBACK
    separator, parts = (":", 4) if ":" in peer else (".", 2)
    return separator.join(peer.split(separator)[:parts])
