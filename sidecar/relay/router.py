"""Route each request to its protocol, and report the decision to the audit and the counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.net.http_server import WaitingRequests
from sidecar.relay import imds_protocol
from sidecar.relay.cached_decision import make_replay
from sidecar.relay.protocol import CredentialsProtocol, Granted, Refused, error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sidecar.net.http_server import Answer, Refusal, Request
    from sidecar.relay.audit import Audit
    from sidecar.relay.counts import Counts
    from sidecar.relay.identities import Identities

_NOT_LOCAL = error(403, "AccessDenied", "only this task's own containers are answered")
_NO_PROTOCOL = "none"
_UNKNOWN_PATIENCE = 0.8
"""Seconds for which an unknown address waits: less than SDKs do, which then give up for good."""
_MOST_UNKNOWN = 256
"""Addresses that are remembered without a waiting request."""


class Router:
    """Answers the requests of one listener by one of two protocols."""

    def __init__(
        self,
        identities: Identities,
        ecs: CredentialsProtocol,
        imds: CredentialsProtocol,
        audit: Audit,
        counts: Counts,
        now: Callable[[], float],
        waiting: WaitingRequests,
    ) -> None:
        self._identities = identities
        self._ecs = ecs
        self._imds = imds
        self._audit = audit
        self._counts = counts
        self._now = now
        self._waiting = waiting
        self._unknown: dict[str, WaitingRequests] = {}
        """The requests of addresses whose container is not known yet, by address."""
        identities.on_known = self._answer_known

    def answer(self, request: Request) -> Answer:
        """Answer a request that passed the checks of the listener."""
        # The listener accepts known names only: a Host that begins like this is that address.
        is_imds = request.headers["host"].startswith(imds_protocol.HOSTS)
        protocol = self._imds if is_imds else self._ecs
        decision: Granted | Refused | Answer
        policy = self._identities.policy
        if policy is not None and not policy(request.peer):
            decision = Refused("not a local peer", _NOT_LOCAL)
        elif (held := self._identities.find_hold(request.target)) is not None:
            decision = held
        else:
            decision = protocol.decide(request)
        if isinstance(decision, Refused) and decision.may_wait and not request.has_waited:
            answer = decision.answer.copy()
            answer.wait_in = (
                self._wait_to_be_known(request.peer) if decision.by_address else self._waiting
            )
            return answer
        answer = self._report(decision, protocol.name, request.peer)
        self._counts.count_answer(protocol.name, answer.status)
        return answer

    def _wait_to_be_known(self, peer: str) -> WaitingRequests:
        """Return where the requests of an unknown address wait, until its container is known."""
        if len(self._unknown) >= _MOST_UNKNOWN:
            self._unknown = {one: waiting for one, waiting in self._unknown.items() if waiting}
        return self._unknown.setdefault(peer, WaitingRequests(_UNKNOWN_PATIENCE))

    def _answer_known(self, peers: Iterable[str]) -> None:
        """Answer the requests that waited for the containers of these addresses."""
        for peer in peers:
            if (waiting := self._unknown.pop(peer, None)) is not None:
                waiting.answer_all()

    def _report(self, decision: Granted | Refused | Answer, protocol: str, peer: str) -> Answer:
        """Tell the audit about a decision; return its answer, with a cached decision if granted."""
        if isinstance(decision, Granted):
            grounds, answer = decision.grounds, decision.answer.copy()
            identities = self._identities
            rule = grounds.identity.rule or identities.default.rule or ""
            kind = self._audit.answered(
                peer,
                protocol,
                grounds.identity.container,
                decision.decision,
                grounds.credentials,
                {"job": identities.job, "rule": rule} if identities.job is not None else {},
            )
            rules = self._counts.rules
            rules[rule] = rules.get(rule, 0) + 1
            key = (protocol, answer.status)
            counted = self._counts.answers
            answer.replay = make_replay(
                grounds, answer.wire, kind, counted, key, (rules, rule), self._now
            )
            return answer
        if isinstance(decision, Refused):
            self._audit.refused(peer, protocol, decision.container, decision.reason)
            return decision.answer
        return decision

    def refuse(self, refusal: Refusal) -> Answer:
        """Answer a request that the listener itself refuses."""
        self._audit.refused(refusal.peer, _NO_PROTOCOL, None, refusal.reason)
        self._counts.count_answer(_NO_PROTOCOL, refusal.status)
        return error(refusal.status, "InvalidRequest", refusal.reason)
