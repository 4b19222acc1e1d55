"""Share between both credential protocols their decisions, and the form of answers.

A protocol decides about a request from memory. It neither waits nor does any I/O.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from sidecar.net.http_server import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.aws.container_credentials import Credentials
    from sidecar.relay.cached_decision import Grounds
    from sidecar.relay.identities import Identity
    from sidecar.relay.refresher import Refresher


SOON = ("Retry-After", "1")
"""The header that says to ask again in a second."""


class Granted(NamedTuple):
    """The request gets credentials."""

    grounds: Grounds
    answer: Answer
    decision: str
    """What identified the client, for the audit."""


class Refused(NamedTuple):
    """The request gets no credentials."""

    reason: str
    """A fixed phrase, with nothing of the request in it."""
    answer: Answer
    container: str | None = None
    may_wait: bool = False
    """Whether it may be granted in a moment: a fetch or an inspection is in progress."""
    by_address: bool = False
    """Whether it may be granted once it is known which container has the peer's address."""


class CredentialsProtocol(Protocol):
    """One protocol for credentials: ECS or IMDS."""

    name: str

    def decide(self, request: Request) -> Granted | Refused | Answer:
        """Decide about a request; a bare Answer holds no secret and needs no audit."""


def refuse_unconfirmed(identity: Identity, answer: Answer) -> Refused:
    """Refuse because it is not known which container has the address: the engine is asked."""
    return Refused(
        "an address that may be another's by now",
        answer,
        identity.container,
        may_wait=True,
        by_address=True,
    )


def refuse_not_fetched(identity: Identity, answer: Answer) -> Refused:
    """Refuse because there are no credentials; the request may wait for a fetch in progress."""
    return Refused("no credentials yet", answer, identity.container, identity.refresher.fetching)


class RenderedAnswers:
    """Answers that hold credentials. Each version is rendered once."""

    def __init__(self, render: Callable[[Credentials], Answer]) -> None:
        self._render = render
        # Weak: an identity may have its own refresher, which ends with it.
        self._rendered: WeakKeyDictionary[Refresher, tuple[Credentials, Answer]] = (
            WeakKeyDictionary()
        )

    def get(self, refresher: Refresher, credentials: Credentials) -> Answer:
        """Return the answer with these credentials."""
        known = self._rendered.get(refresher)
        if known is None or known[0] is not credentials:
            known = self._rendered[refresher] = credentials, self._render(credentials)
        return known[1]


def hold_for_admission() -> Refused:
    """Refuse for as long as no job is admitted."""
    body = error(503, "CredentialsUninitialized", "no job is admitted yet", SOON)
    return Refused("no admitted job", body)


def deny(message: str) -> Refused:
    """Refuse for good: the job has no role."""
    return Refused("no role for the job", error(403, "AccessDenied", message))


def error(status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    """Return an error that every SDK can read: some read `code`, others `Code`."""
    document = {
        "code": code,
        "message": message,
        "HTTPErrorCode": status,
        "Code": code,
        "Message": message,
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(status, body, "application/json", headers)
