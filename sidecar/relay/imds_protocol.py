"""The IMDS protocol: IMDSv2 as far as SDKs need it, with nothing of the real instance.

It serves clients without the variables of the ECS protocol: builds, and containers that containers
start. No request is ever forwarded to the instance. Session tokens are not stored: each holds its
own expiry and a signature for the peer that asked for it.

Protocol: Amazon EC2 User Guide, "Use IMDSv2". The paths are those that real SDKs were seen to ask.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sidecar.net.http_server import Answer, Request
from sidecar.relay.cached_decision import Grounds
from sidecar.relay.protocol import (
    SOON,
    Granted,
    Refused,
    RenderedAnswers,
    refuse_not_fetched,
    refuse_unconfirmed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.aws.container_credentials import Credentials
    from sidecar.relay.identities import Identities

HOSTS = ("169.254.169.254", "[fd00:ec2::254]")
"""Addresses of the instance metadata service."""
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"  # noqa: S105  a header's name
LONGEST = 21600
"""Longest lifetime of a session token, in seconds."""

_TOKEN_PATH = "/latest/api/token"  # noqa: S105  no password
_ROLES = "/latest/meta-data/iam/security-credentials"
_EXPIRY_BYTES = 8
_TOKEN_LENGTH = 56

_OFF = Answer(403, b"instance metadata are off here\n")
_BAD_TTL = Answer(400, b"the token's lifetime must be 1 to 21600 seconds\n")
_NO_TOKEN = Answer(401, b"a session token is needed: only IMDSv2 is spoken here\n")
_NOT_FOUND = Answer(404, b"not found\n")
_NOT_READY = Answer(503, b"no credentials yet\n", headers=(SOON,))
_ONLY_GET = Answer(405, b"only GET is answered here\n", headers=(("Allow", "GET"),))
_ONLY_PUT = Answer(405, b"only PUT is answered here\n", headers=(("Allow", "PUT"),))


class ImdsDisabled:
    """Refuses every request, so that nobody reaches the instance's own metadata."""

    name = "imds"

    def decide(self, request: Request) -> Refused:  # noqa: ARG002
        """Refuse at once: a client whose packets are dropped would wait for seconds."""
        return Refused("instance metadata are off", _OFF)


class ImdsProtocol:
    """Answers the metadata that an SDK needs for credentials and region; nothing else exists."""

    name = "imds"

    def __init__(
        self,
        identities: Identities,
        region: str | None,
        now: Callable[[], float],
        machine: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._identities = identities
        self._now = now
        self._tokens = Tokens(now)
        self._rendered = RenderedAnswers(self._render)
        self._public = _public_answers(region, machine)

    def decide(self, request: Request) -> Granted | Refused | Answer:
        """Decide as an instance would that has the relayed role."""
        if request.target == _TOKEN_PATH:
            return self._token(request)
        if request.method != "GET":
            return Refused("wrong method", _ONLY_GET)
        session_ends = self._tokens.read_expiry(request.headers.get(TOKEN, ""), request.peer)
        if session_ends <= self._now():
            return Refused("no session token", _NO_TOKEN)
        path = request.target.rstrip("/")
        if path in self._public:
            return self._public[path]
        if path == _ROLES or path.startswith(f"{_ROLES}/"):
            return self._role(path, request.peer, session_ends)
        return _NOT_FOUND  # not an audit event: SDKs try several paths

    def _token(self, request: Request) -> Refused | Answer:
        if request.method != "PUT":
            return Refused("wrong method", _ONLY_PUT)
        asked = request.headers.get(TTL, "")
        if not (asked.isascii() and asked.isdigit() and len(asked) <= 5):
            return Refused("bad token lifetime", _BAD_TTL)
        if not 1 <= int(asked) <= LONGEST:
            return Refused("bad token lifetime", _BAD_TTL)
        token = self._tokens.issue(int(asked), request.peer)
        return Answer(200, token.encode(), "text/plain", ((TTL, asked),))

    def _role(self, path: str, peer: str, session_ends: float) -> Granted | Refused | Answer:
        identities = self._identities
        identity = identities.by_address(peer)
        if identities.must_confirm(identity):
            return refuse_unconfirmed(identity, _NOT_READY)
        if identity.refusal is not None:
            return identity.refusal._replace(container=identity.container)
        credentials = identity.refresher.current()
        if credentials is None:
            return refuse_not_fetched(identity, _NOT_READY)
        name = _role_name(credentials)
        if path == _ROLES:
            return Answer(200, name.encode(), "text/plain")
        if path != f"{_ROLES}/{name}":
            return _NOT_FOUND
        grounds = Grounds(identities, identities.version, identity, credentials, peer, session_ends)
        answer = self._rendered.get(identity.refresher, credentials)
        return Granted(grounds, answer, "address")

    def _render(self, credentials: Credentials) -> Answer:
        held = json.loads(credentials.body)
        return _json(
            {
                "Code": "Success",
                "LastUpdated": f"{datetime.fromtimestamp(self._now(), UTC):%Y-%m-%dT%H:%M:%SZ}",
                "Type": "AWS-HMAC",
                **{key: held[key] for key in ("AccessKeyId", "SecretAccessKey", "Token")},
                "Expiration": held["Expiration"],
            }
        )


class Tokens:
    """Makes and reads session tokens: an expiry, with a signature of the expiry and the peer.

    Tokens are not stored, so they cannot fill the memory. A token is not valid for another peer,
    nor for another relay.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._key = secrets.token_bytes(32)

    def issue(self, ttl: int, peer: str) -> str:
        """Return a token that is valid for `ttl` seconds."""
        # In milliseconds: with whole seconds a token would end up to one second too early.
        expiry = round((self._now() + ttl) * 1000).to_bytes(_EXPIRY_BYTES, "big")
        return base64.urlsafe_b64encode(expiry + self._signature(expiry, peer)).decode()

    def read_expiry(self, token: str, peer: str) -> float:
        """Return when a token expires, in seconds since the epoch; 0 if it is not valid."""
        try:
            if len(token) != _TOKEN_LENGTH:
                return 0.0
            raw = base64.urlsafe_b64decode(token)
        except ValueError:
            return 0.0
        expiry, signature = raw[:_EXPIRY_BYTES], raw[_EXPIRY_BYTES:]
        if not hmac.compare_digest(signature, self._signature(expiry, peer)):
            return 0.0
        return int.from_bytes(expiry, "big") / 1000

    def _signature(self, expiry: bytes, peer: str) -> bytes:
        return hmac.digest(self._key, expiry + peer.encode(), "sha256")


def _role_name(credentials: Credentials) -> str:
    return (credentials.role_arn or "task-role").rpartition("/")[2]


def _public_answers(region: str | None, machine: Mapping[str, str]) -> dict[str, Answer]:
    """Return the answers without secrets, by path; those of `machine` as they are."""
    answers = {"/latest/meta-data/iam/info": _json({"Code": "Success"})}
    if region is not None:
        # The zone does not matter: botocore cuts its letter off to get the region.
        zone, placement = f"{region}a", "/latest/meta-data/placement"
        answers[f"{placement}/availability-zone"] = Answer(200, zone.encode(), "text/plain")
        answers[f"{placement}/region"] = Answer(200, region.encode(), "text/plain")
        answers["/latest/dynamic/instance-identity/document"] = _json({"region": region})
    for name, text in machine.items():
        folder = "dynamic" if name.startswith("instance-identity/") else "meta-data"
        answers[f"/latest/{folder}/{name}"] = Answer(200, text.encode(), "text/plain")
    return answers


def _json(document: dict[str, Any]) -> Answer:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(200, body, "application/json")
