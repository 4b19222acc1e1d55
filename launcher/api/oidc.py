"""Verify an OIDC token of GitHub's, and read who calls out of it.

Source: GitHub, "OpenID Connect reference". Since 2026 the subject of new repositories holds the
numbers of owner and repository beside their names; both forms are read, and either has to agree
with the other claims. Decisions are made by the numbers: a name may belong to somebody else later.
"""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from launcher.api.answers import Refused
from launcher.api.keys import AGAIN, NoKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.api.keys import Keys

ALGORITHM = "RS256"
LEEWAY = 30.0
"""Seconds that the clocks may differ."""
LONGEST_LIFE = 3600.0
"""Seconds from a token's issue to its end; GitHub's live for some minutes."""
LATEST = 2.0**53
"""Seconds; a number beyond this, or none that can be compared, is no time."""
LONGEST = 8192
"""Characters of a token."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9._-]{1,100}")
_EVENT = re.compile(r"[a-z_]{1,50}")
_REF = re.compile(r"refs/[!-~]{1,250}")
_UNIQUE = re.compile(r"[0-9A-Za-z_-]{8,100}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The workflow run that calls."""

    repository: str
    """`owner/name`."""
    repository_id: int
    owner_id: int
    event: str
    ref: str
    run_id: int
    run_attempt: int
    check_run: str
    """The number of the job's check run; empty where GitHub does not tell it."""
    token: str
    """The token's own id: `jti`."""
    expires: float


class TokenVerifier:
    """Verifies the tokens of one issuer for one audience."""

    def __init__(
        self, issuer: str, audience: str, keys: Keys, now: Callable[[], float] = time.time
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._now = now

    async def verify(self, authorization: str) -> Identity:
        """Return who calls. Raises Refused, which holds the answer."""
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not _is_token(token):
            raise Refused(401, "send GitHub's OIDC token as `Authorization: Bearer TOKEN`")
        return read_identity(await self._read_claims(token))

    async def _read_claims(self, token: str) -> dict[str, Any]:
        head = _read_head(token)
        name = head.get("kid")
        if head.get("alg") != ALGORITHM or not isinstance(name, str):
            raise Refused(401, f"the token must be signed by {ALGORITHM}, with a key's name")
        try:
            key = await self._keys.find(name)
        except NoKeys as error:
            raise Refused(503, str(error), again_in=AGAIN) from error
        if key is None:
            raise Refused(401, "the token is signed by no key of GitHub's")
        try:
            # The times are checked below, by this module's own clock.
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                options={
                    "require": ["iss", "aud", "exp", "iat", "nbf", "sub", "jti"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise Refused(401, f"the token does not hold: {_explain(error)}") from None
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        now = self._now()
        begins, issued, ends = (_time(claims, name) for name in ("nbf", "iat", "exp"))
        if now >= ends + LEEWAY:
            raise Refused(401, "the token has expired")
        if now < begins - LEEWAY or now < issued - LEEWAY:
            raise Refused(401, "the token is of the future: see the clocks")
        if ends - issued > LONGEST_LIFE:
            raise Refused(401, f"the token holds for longer than {LONGEST_LIFE:g} s")


def read_identity(claims: dict[str, Any]) -> Identity:
    """Read who calls out of the claims of a token that holds. Raises Refused."""
    identity = Identity(
        repository=_text(claims, "repository", _REPOSITORY),
        repository_id=int(_text(claims, "repository_id", _NUMBER)),
        owner_id=int(_text(claims, "repository_owner_id", _NUMBER)),
        event=_text(claims, "event_name", _EVENT),
        ref=_text(claims, "ref", _REF),
        run_id=int(_text(claims, "run_id", _NUMBER)),
        run_attempt=int(_text(claims, "run_attempt", _NUMBER)),
        check_run=_text(claims, "check_run_id", _NUMBER) if "check_run_id" in claims else "",
        token=_text(claims, "jti", _UNIQUE),
        expires=_time(claims, "exp"),
    )
    if not is_subject_of(str(claims["sub"]), identity):
        raise Refused(401, "the token's subject is not of its repository, or has another form")
    return identity


def is_subject_of(subject: str, identity: Identity) -> bool:
    """Whether the subject is of this repository, in the old or in the new form."""
    owner, _, name = identity.repository.partition("/")
    numbered = f"repo:{owner}@{identity.owner_id}/{name}@{identity.repository_id}:"
    return subject.startswith((f"repo:{identity.repository}:", numbered))


def _read_head(token: str) -> dict[str, Any]:
    """Read the head alone: the library would read all of the token, twice."""
    text = token.partition(".")[0]
    try:
        head = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict):
        raise Refused(401, "the token is none: its head cannot be read")
    return head


def _is_token(text: str) -> bool:
    return len(text) <= LONGEST and _TOKEN.fullmatch(text) is not None


def _text(claims: dict[str, Any], name: str, rule: re.Pattern[str]) -> str:
    found = claims.get(name)
    if not isinstance(found, str) or not rule.fullmatch(found):
        raise Refused(401, f"the token has no {name} that can be read")
    return found


def _time(claims: dict[str, Any], name: str) -> float:
    found = claims.get(name)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not -LATEST < found < LATEST:  # type: ignore[operator]  # it is a number
        raise Refused(401, f"the token's {name} is no time")
    return float(found)  # type: ignore[arg-type]  # it is a number


def _explain(error: Exception) -> str:
    """Say what is wrong, in words that hold nothing of the token."""
    kinds = {
        jwt.InvalidSignatureError: "the signature is wrong",
        jwt.InvalidAudienceError: "it is for another audience (LAUNCHER_API_AUDIENCE)",
        jwt.InvalidIssuerError: "another issuer has made it (LAUNCHER_API_ISSUER)",
        jwt.MissingRequiredClaimError: "a claim is missing",
    }
    return kinds.get(type(error), "it cannot be read")
