"""The faces the relay shows: the same credentials in the shape a client's protocol asks for.

A face turns a request into an answer from memory; it neither waits nor looks anything up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from sidecar.net.http_server import Answer, Request
from sidecar.relay.identities import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.aws.container_credentials import Credentials
    from sidecar.relay.identities import Identities, Identity
    from sidecar.relay.refresher import Refresher


class Granted(NamedTuple):
    """Somebody gets credentials."""

    identity: Identity
    credentials: Credentials
    answer: Answer
    decision: str
    """On which ground, for the audit."""
    until: float = float("inf")
    """When it must be decided anew, in seconds since the epoch."""


class Refused(NamedTuple):
    """Somebody gets none."""

    why: str
    """A fixed phrase: nothing of the request."""
    answer: Answer
    container: str | None = None
    soon: bool = False
    """Whether it may be granted in a moment, since upstream is being asked."""


class CredentialsProtocol(Protocol):
    """One protocol of asking for credentials."""

    name: str

    def decide(self, request: Request) -> Granted | Refused | Answer:
        """Say what a request gets; a bare answer is one that holds no secret."""


def unready(identity: Identity, answer: Answer) -> Refused:
    """Say that there are no credentials, and whether there may be some in a moment."""
    return Refused("no credentials yet", answer, identity.container, identity.refresher.flying)


class Rendered:
    """Answers that hold credentials, each version rendered once."""

    def __init__(self, render: Callable[[Credentials], Answer]) -> None:
        self._render = render
        # An identity may have a keeper of its own, which then ends with it.
        self._of: WeakKeyDictionary[Refresher, tuple[Credentials, Answer]] = WeakKeyDictionary()

    def answer(self, refresher: Refresher, credentials: Credentials) -> Answer:
        """Return the answer that hands these credentials on."""
        known = self._of.get(refresher)
        if known is None or known[0] is not credentials:
            known = self._of[refresher] = credentials, self._render(credentials)
        return known[1]


def error(status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    """Return an error that every SDK can read: some want `code`, some `Code`."""
    document = {
        "code": code,
        "message": message,
        "HTTPErrorCode": status,
        "Code": code,
        "Message": message,
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(status, body, "application/json", headers)


# Words and statuses of amazon-ecs-agent's tmds/handlers (v1 and v2 credentials).
_NO_ID = error(400, "NoIdInRequest", "CredentialsV2Request: No Credential ID in the request")
_WRONG_ID = error(400, "InvalidIdInRequest", "CredentialsV2Request: Credentials not found")
_NOT_READY = error(
    503, "CredentialsUninitialized", "CredentialsV2Request: Credentials uninitialized for ID"
)
_WRONG_METHOD = error(405, "MethodNotAllowed", "only GET is answered here", ("Allow", "GET"))
_NOT_YOURS = error(403, "AccessDenied", "these credentials are for another container")
_NOT_FOUND = Answer(404, b"404 page not found\n")


class EcsProtocol:
    """The ECS agent's `GET /v2/credentials/<id>`, where the id is the secret."""

    name = "ecs"

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._rendered = Rendered(lambda held: Answer(200, held.body, "application/json"))

    def decide(self, request: Request) -> Granted | Refused:
        """Answer as the agent would, but to GET alone."""
        target = request.target
        if request.method != "GET":
            return Refused("wrong method", _WRONG_METHOD)
        if not target.startswith(PREFIX):
            return Refused("no such path", _NOT_FOUND)
        if target == PREFIX:
            return Refused("no secret", _NO_ID)
        identity = self._identities.by_path(target)
        if identity is None:
            return Refused("wrong secret", _WRONG_ID)
        if not self._identities.may_ask(identity, request.peer):
            if identity.resting:  # or started a moment ago, and the engine has yet to tell
                return Refused("a stopped container", _WRONG_ID, identity.container, soon=True)
            return Refused("another container's path", _NOT_YOURS, identity.container)
        credentials = identity.refresher.current()
        if credentials is None:
            return unready(identity, _NOT_READY)
        own = identity is not self._identities.default
        answer = self._rendered.answer(identity.refresher, credentials)
        return Granted(identity, credentials, answer, "own path" if own else "common path")
