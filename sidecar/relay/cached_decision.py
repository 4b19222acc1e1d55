"""Repeat a granted answer for as long as its grounds hold (ADR 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.aws.container_credentials import Credentials
    from sidecar.relay.audit import Kind
    from sidecar.relay.identities import Identities, Identity


class Grounds(NamedTuple):
    """The facts on which a granted answer is based. It is void when one of them changes."""

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


def make_replay(
    grounds: Grounds,
    wire: bytes,
    kind: Kind,
    answers: dict[tuple[str, int], int],
    key: tuple[str, int],
    served: tuple[dict[str, int], str],
    now: Callable[[], float],
) -> Callable[[], bytes | None]:
    """Make the function that repeats an answer: the same bytes, counted in all three places.

    `served`: the counts by rule, and the rule. The function returns None if one of the grounds has
    changed or ended, or if the next audit event is due: then the request must be decided again,
    which logs the event.
    """
    # Local names, and one function without calls of our own: nearly every request ends here.
    identities, version, identity, credentials, peer, session_ends = grounds
    rules, rule = served
    ends = min(credentials.expires_at, session_ends)

    def replay() -> bytes | None:
        moment = now()
        if (
            identities.version != version
            or identity.refresher.newest is not credentials
            or moment >= ends
            or moment >= kind.quiet_until
            or ((policy := identities.policy) is not None and not policy(peer))
        ):
            return None
        kind.repeats += 1
        answers[key] += 1
        rules[rule] += 1
        return wire

    return replay
