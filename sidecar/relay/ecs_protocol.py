"""The ECS protocol: `GET /v2/credentials/<id>`, as the ECS agent answers it; the id is the secret.

Texts and statuses: amazon-ecs-agent, `tmds/handlers` (v1 and v2 credentials).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.net.http_server import Answer, Request
from sidecar.relay.cached_decision import Grounds
from sidecar.relay.identities import PREFIX
from sidecar.relay.protocol import (
    SOON,
    Granted,
    Refused,
    RenderedAnswers,
    error,
    refuse_not_fetched,
    refuse_unconfirmed,
)

if TYPE_CHECKING:
    from sidecar.relay.identities import Identities, Identity

_NO_ID = error(400, "NoIdInRequest", "CredentialsV2Request: No Credential ID in the request")
_WRONG_ID = error(400, "InvalidIdInRequest", "CredentialsV2Request: Credentials not found")
_NOT_READY = error(
    503, "CredentialsUninitialized", "CredentialsV2Request: Credentials uninitialized for ID", SOON
)
_WRONG_METHOD = error(405, "MethodNotAllowed", "only GET is answered here", ("Allow", "GET"))
_NOT_YOURS = error(403, "AccessDenied", "these credentials are for another container")
_NOT_FOUND = Answer(404, b"404 page not found\n")


class EcsProtocol:
    """Answers requests for credentials by a secret path."""

    name = "ecs"

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._rendered = RenderedAnswers(lambda held: Answer(200, held.body, "application/json"))

    def decide(self, request: Request) -> Granted | Refused:
        """Decide as the ECS agent would, but answer only GET."""
        target = request.target
        if request.method != "GET":
            return Refused("wrong method", _WRONG_METHOD)
        if not target.startswith(PREFIX):
            return Refused("no such path", _NOT_FOUND)
        if target == PREFIX:
            return Refused("no secret", _NO_ID)
        identities = self._identities
        identity = identities.by_path(target, request.peer)
        if identity is None:
            return Refused("wrong secret", _WRONG_ID)
        by_address = identities.is_own is not None and identities.is_common(target)
        if by_address and identities.must_confirm(identity):
            return refuse_unconfirmed(identity, _NOT_READY)
        if not identities.may_ask(identity, request.peer):
            if identity.suspended:  # it may have started a moment ago: the engine is being asked
                return Refused("a stopped container", _WRONG_ID, identity.container, may_wait=True)
            return Refused("another container's path", _NOT_YOURS, identity.container)
        return self._grant(identity, request.peer)

    def _grant(self, identity: Identity, peer: str) -> Granted | Refused:
        if identity.refusal is not None:
            return identity.refusal._replace(container=identity.container)
        credentials = identity.refresher.current()
        if credentials is None:
            return refuse_not_fetched(identity, _NOT_READY)
        own = identity is not self._identities.default
        grounds = Grounds(self._identities, self._identities.version, identity, credentials, peer)
        answer = self._rendered.get(identity.refresher, credentials)
        return Granted(grounds, answer, "own path" if own else "common path")
