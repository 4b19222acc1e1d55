"""Where every request comes in: whose it is, which face it means, and what the audit says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.relay import imds_protocol
from sidecar.relay.protocol import CredentialsProtocol, Granted, Refused, error

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.net.http_server import Answer, Later, Refusal, Request
    from sidecar.relay.audit import Audit, Kind
    from sidecar.relay.counts import Counts

_NOBODY = error(403, "AccessDenied", "only this task's own containers are answered")
_NO_FACE = "none"


class Router:
    """Two faces behind one listener."""

    def __init__(
        self,
        ecs: CredentialsProtocol,
        instance: CredentialsProtocol,
        audit: Audit,
        counts: Counts,
        now: Callable[[], float],
        later: Later,
        peers: Callable[[str], bool] | None = None,
    ) -> None:
        self._ecs = ecs
        self._instance = instance
        self._audit = audit
        self._tally = counts
        self._now = now
        self._later = later
        self._peers = peers

    def answer(self, request: Request) -> Answer:
        """Answer what the listener let through."""
        # The listener knows its names: a Host that begins like this is that address.
        meant = request.headers["host"].startswith(imds_protocol.HOSTS)
        face = self._instance if meant else self._ecs
        if self._peers is not None and not self._peers(request.peer):
            decision: Granted | Refused | Answer = Refused("not a local peer", _NOBODY)
        else:
            decision = face.decide(request)
        if isinstance(decision, Refused) and decision.soon and not request.late:
            answer = decision.answer.copy()
            answer.later = self._later
            return answer
        answer = self._told(decision, face.name, request.peer)
        self._tally.answers[face.name, answer.status] += 1
        return answer

    def _told(self, decision: Granted | Refused | Answer, face: str, peer: str) -> Answer:
        if isinstance(decision, Granted):
            held, identity = decision.credentials, decision.identity
            kind = self._audit.answered(peer, face, identity.container, decision.decision, held)
            until = min(decision.until, held.expires_at, kind.quiet_until)
            standing = CachedDecision(decision, kind, self._tally, face, until, self._now)
            answer = decision.answer.copy()
            answer.again = standing.again
            return answer
        if isinstance(decision, Refused):
            self._audit.refused(peer, face, decision.container, decision.why)
            return decision.answer
        return decision

    def refuse(self, refusal: Refusal) -> Answer:
        """Answer what the listener itself turned away."""
        self._audit.refused(refusal.peer, _NO_FACE, None, refusal.why)
        self._tally.answers[_NO_FACE, refusal.status] += 1
        return error(refusal.status, "InvalidRequest", refusal.why)


class CachedDecision:
    """What one peer was granted, for as long as nothing that was judged has changed."""

    __slots__ = (
        "_answers",
        "_credentials",
        "_identity",
        "_keeper",
        "_key",
        "_kind",
        "_now",
        "_until",
        "_version",
        "_wire",
    )

    def __init__(
        self,
        granted: Granted,
        kind: Kind,
        counts: Counts,
        face: str,
        until: float,
        now: Callable[[], float],
    ) -> None:
        self._identity = granted.identity
        self._version = granted.identity.version
        self._keeper = granted.identity.refresher
        self._credentials = granted.credentials
        self._wire = granted.answer.wire
        self._kind = kind
        self._answers = counts.answers
        self._key = face, granted.answer.status
        self._until = until
        self._now = now

    def again(self) -> bytes | None:
        """Give the same bytes, and count it; None if it has to be judged again."""
        if (
            self._keeper.newest is not self._credentials
            or self._identity.version != self._version
            or self._now() >= self._until
        ):
            return None
        self._kind.repeats += 1
        self._answers[self._key] += 1
        return self._wire
