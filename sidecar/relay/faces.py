"""The faces the relay shows: the same credentials in the shape a client's protocol asks for.

A face turns a request into an answer from memory; it neither waits nor looks anything up.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING

from sidecar.http import Answer, Refusal, Request

if TYPE_CHECKING:
    from sidecar.relay.keeper import Keeper
    from sidecar.relay.refusals import Refusals
    from sidecar.relay.upstream import Credentials

PREFIX = "/v2/credentials/"


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
_NOT_FOUND = Answer(404, b"404 page not found\n")


class EcsFace:
    """The ECS agent's `GET /v2/credentials/<id>`, where the id is the secret."""

    def __init__(self, keeper: Keeper, secret: str, refusals: Refusals) -> None:
        self.keeper = keeper
        self.secret = secret
        self.refusals = refusals
        self._of: Credentials | None = None
        self._answer = _NOT_READY

    def answer(self, request: Request) -> Answer:
        """Answer as the agent would, but to GET alone."""
        wrong = self._wrong(request)
        if wrong is not None:
            why, answer = wrong
            self.refusals.note(why, request.peer)
            return answer
        credentials = self.keeper.current()
        if credentials is None:
            return _NOT_READY
        if credentials is not self._of:
            self._of = credentials
            self._answer = Answer(200, credentials.body, "application/json")
        return self._answer

    def _wrong(self, request: Request) -> tuple[str, Answer] | None:
        if request.method != "GET":
            return "wrong method", _WRONG_METHOD
        if not request.target.startswith(PREFIX):
            return "no such path", _NOT_FOUND
        given = request.target[len(PREFIX) :]
        if not given:
            return "no secret", _NO_ID
        if not hmac.compare_digest(given.encode(), self.secret.encode()):
            return "wrong secret", _WRONG_ID
        return None

    def refuse(self, refusal: Refusal) -> Answer:
        """Answer what the listener itself turned away."""
        self.refusals.note(refusal.why, refusal.peer)
        return error(refusal.status, "InvalidRequest", refusal.why)
