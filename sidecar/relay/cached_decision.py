"""Repeat a granted answer for as long as its grounds hold (ADR 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.aws.container_credentials import Credentials
    from sidecar.relay.audit import Kind
    from sidecar.relay.counts import Counts
    from sidecar.relay.identities import Identities, Identity


class Grounds(NamedTuple):
    """What a granted answer is based on. It is not valid any more when one of these changes."""

    identities: Identities
    """Also the policy, which has no version: it is asked again each time."""
    version: int
    """Of `identities`; it grows with each change of a path, a container or an address."""
    identity: Identity
    """Who asks, and with `identity.refresher` whose credentials are handed out."""
    credentials: Credentials
    """The version that is handed out."""
    peer: str
    session_ends: float = float("inf")
    """End of the IMDS session token, in seconds since the epoch. ECS has no session."""

    def hold(self, now: float) -> bool:
        """Return whether none of it has changed or ended."""
        identities, version, identity, credentials, peer, session_ends = self  # once, for speed
        return (
            identities.version == version
            and identity.refresher.newest is credentials
            and now < credentials.expires_at
            and now < session_ends
            and (identities.policy is None or identities.policy(peer))
        )


class CachedDecision:
    """The answer that one peer was granted for one request, with its grounds."""

    __slots__ = ("_answers", "_grounds", "_key", "_kind", "_now", "_wire")

    def __init__(
        self,
        grounds: Grounds,
        wire: bytes,
        kind: Kind,
        counts: Counts,
        key: tuple[str, int],
        now: Callable[[], float],
    ) -> None:
        self._grounds = grounds
        self._wire = wire
        self._kind = kind
        self._answers = counts.answers
        self._key = key
        self._now = now

    def replay(self) -> bytes | None:
        """Return the same bytes and count them; None if the request must be decided again."""
        now = self._now()
        # When the next audit event is due, the request is handled normally, which logs it.
        if now >= self._kind.quiet_until or not self._grounds.hold(now):
            return None
        self._kind.repeats += 1
        self._answers[self._key] += 1
        return self._wire
