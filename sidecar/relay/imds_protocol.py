"""The instance metadata face: IMDSv2 as far as an SDK needs it, and nothing of the instance's own.

It serves whoever has no variables that name the ECS face: builds, and containers' containers. No
request is ever handed on to the instance. A session token is nothing that is kept here: it says
until when it is good, and is signed for the peer that asked for it.

Protocol: Amazon EC2 User Guide, "Use IMDSv2"; which of the paths SDKs ask was seen with them.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sidecar.net.http_server import Answer, Request
from sidecar.relay.protocol import Granted, Refused, Rendered, unready

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.aws.container_credentials import Credentials
    from sidecar.relay.identities import Identities

HOSTS = ("169.254.169.254", "[fd00:ec2::254]")
"""By which containers know the instance metadata service."""
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"  # noqa: S105  a header's name
LONGEST = 21600
"""Seconds that a session token lives at most."""

_TOKEN_PATH = "/latest/api/token"  # noqa: S105  no password
_ROLES = "/latest/meta-data/iam/security-credentials"
_EXPIRY_BYTES = 8
_TOKEN_LENGTH = 56

_OFF = Answer(403, b"instance metadata are off here\n")
_BAD_TTL = Answer(400, b"the token's lifetime must be 1 to 21600 seconds\n")
_NO_TOKEN = Answer(401, b"a session token is needed: only IMDSv2 is spoken here\n")
_NOT_FOUND = Answer(404, b"not found\n")
_NOT_READY = Answer(503, b"no credentials yet\n")
_ONLY_GET = Answer(405, b"only GET is answered here\n", headers=(("Allow", "GET"),))
_ONLY_PUT = Answer(405, b"only PUT is answered here\n", headers=(("Allow", "PUT"),))


class ImdsDisabled:
    """What stands there while the face is off, so that nobody reaches the instance's own."""

    name = "imds"

    def decide(self, request: Request) -> Refused:  # noqa: ARG002
        """Refuse, at once: who is dropped instead waits for seconds."""
        return Refused("instance metadata are off", _OFF)


class ImdsProtocol:
    """The instance metadata that lead an SDK to credentials and region; all else is not found."""

    name = "imds"

    def __init__(
        self, identities: Identities, region: str | None, now: Callable[[], float]
    ) -> None:
        self._identities = identities
        self._now = now
        self._tokens = Tokens(now)
        self._rendered = Rendered(self._document)
        self._facts = _facts(region)

    def decide(self, request: Request) -> Granted | Refused | Answer:
        """Answer as the instance would whose role is the one relayed."""
        if request.target == _TOKEN_PATH:
            return self._token(request)
        if request.method != "GET":
            return Refused("wrong method", _ONLY_GET)
        until = self._tokens.good_until(request.headers.get(TOKEN, ""), request.peer)
        if until <= self._now():
            return Refused("no session token", _NO_TOKEN)
        path = request.target.rstrip("/")
        if path in self._facts:
            return self._facts[path]
        if path == _ROLES or path.startswith(f"{_ROLES}/"):
            return self._role(path, request.peer, until)
        return _NOT_FOUND  # SDKs try their way: that is nothing to report

    def _token(self, request: Request) -> Refused | Answer:
        if request.method != "PUT":
            return Refused("wrong method", _ONLY_PUT)
        asked = request.headers.get(TTL, "")
        if not (asked.isascii() and asked.isdigit() and len(asked) <= 5):
            return Refused("bad token lifetime", _BAD_TTL)
        if not 1 <= int(asked) <= LONGEST:
            return Refused("bad token lifetime", _BAD_TTL)
        token = self._tokens.issued(int(asked), request.peer)
        return Answer(200, token.encode(), "text/plain", ((TTL, asked),))

    def _role(self, path: str, peer: str, until: float) -> Granted | Refused | Answer:
        identity = self._identities.by_address(peer)
        credentials = identity.refresher.current()
        if credentials is None:
            return unready(identity, _NOT_READY)
        name = _role_name(credentials)
        if path == _ROLES:
            return Answer(200, name.encode(), "text/plain")
        if path != f"{_ROLES}/{name}":
            return _NOT_FOUND
        answer = self._rendered.answer(identity.refresher, credentials)
        return Granted(identity, credentials, answer, "address", until)

    def _document(self, credentials: Credentials) -> Answer:
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
    """Session tokens: when they end, and a signature of that and of whom they are for.

    They need no memory, so nobody can fill it, and mean nothing to another peer or another life.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._key = secrets.token_bytes(32)

    def issued(self, ttl: int, peer: str) -> str:
        """Return a token that is good for `ttl` seconds."""
        expiry = (int(self._now()) + ttl).to_bytes(_EXPIRY_BYTES, "big")
        return base64.urlsafe_b64encode(expiry + self._signature(expiry, peer)).decode()

    def good_until(self, token: str, peer: str) -> float:
        """Return when a token ends, in seconds since the epoch; 0 for what is none."""
        try:
            if len(token) != _TOKEN_LENGTH:
                return 0.0
            raw = base64.urlsafe_b64decode(token)
        except ValueError:
            return 0.0
        expiry, signature = raw[:_EXPIRY_BYTES], raw[_EXPIRY_BYTES:]
        if not hmac.compare_digest(signature, self._signature(expiry, peer)):
            return 0.0
        return float(int.from_bytes(expiry, "big"))

    def _signature(self, expiry: bytes, peer: str) -> bytes:
        return hmac.digest(self._key, expiry + peer.encode(), "sha256")


def _role_name(credentials: Credentials) -> str:
    return (credentials.role_arn or "task-role").rpartition("/")[2]


def _facts(region: str | None) -> dict[str, Answer]:
    """Return what can be told whoever asks."""
    facts = {"/latest/meta-data/iam/info": _json({"Code": "Success"})}
    if region is not None:
        # Which zone of the region nobody asks: botocore cuts the letter off.
        zone, placement = f"{region}a", "/latest/meta-data/placement"
        facts[f"{placement}/availability-zone"] = Answer(200, zone.encode(), "text/plain")
        facts[f"{placement}/region"] = Answer(200, region.encode(), "text/plain")
        facts["/latest/dynamic/instance-identity/document"] = _json({"region": region})
    return facts


def _json(document: dict[str, Any]) -> Answer:
    body = json.dumps(document, separators=(",", ":")).encode()
    return Answer(200, body, "application/json")
