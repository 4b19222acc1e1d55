"""STS as its callers see it: trust policies with external ids, session tags, web identity.

moto assumes every role for everybody. With its URL the credentials are of its own making, so that
its other services know the account that they belong to. Source: STS's API reference, "AssumeRole"
and "AssumeRoleWithWebIdentity".
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import unicodedata
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from local import aws
from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHAINED = 3600
"""Seconds that a session lasts at most whose caller has assumed a role itself."""
SHORTEST = 900
NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass
class Role:
    """A role, and whom its trust policy lets assume it."""

    arn: str
    external_id: str
    tags_allowed: bool = True
    """Whether the policy has sts:TagSession."""
    tags: dict[str, str] = field(default_factory=dict)
    """The session tags that it asks for, as `aws:RequestTag` conditions."""
    claims: dict[str, str] = field(default_factory=dict)
    """The claims of a token of GitHub's that it asks for; empty: it trusts none."""
    longest: int = 3600
    """Its MaxSessionDuration."""


@dataclass
class Assumed:
    """One session that was begun."""

    role: str
    session: str
    duration: int
    tags: dict[str, str]
    key: str
    token: str
    secret: str = "secret"
    policy: str = ""
    source_identity: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    """Of the token that proved it."""

    @property
    def account(self) -> str:
        """The account of its role."""
        return self.role.split(":")[4]


@dataclass
class Sts:
    """The roles that there are, and the sessions that were begun."""

    roles: dict[str, Role] = field(default_factory=dict)
    assumed: list[Assumed] = field(default_factory=list)
    url: str = ""
    moto: str = ""
    """The URL of an STS that makes the credentials."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """What it answers next instead: status and error code, one for each request."""
    slowness: float = 0.0
    """Seconds before each answer."""
    validity: float | None = None
    """Seconds for which its credentials hold, whatever was asked for; None: as was asked for."""
    asked: int = 0
    """How many requests came."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, arn: str, external_id: str = "", **more: Any) -> None:
        """Make a role; `more` are the fields of Role."""
        self.roles[arn] = Role(arn, external_id, **more)

    def find_account(self, key: str) -> str:
        """Return the account that an access key belongs to."""
        found = [each.account for each in self.assumed if each.key == key]
        return found[0] if found else aws.ACCOUNT

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        self.asked += 1
        await asyncio.sleep(self.slowness)
        if self.faults:
            status, code = self.faults.pop(0)
            return _refuse(status, code, "as it was told")
        given = dict(parse_qsl((await request.read()).decode()))
        if given.get("Action") == "AssumeRoleWithWebIdentity":
            return await self._answer_web_identity(given)
        if given.get("Action") != "AssumeRole":
            return _refuse(400, "InvalidAction", f"no such action: {given.get('Action')}")
        role, tags = self.roles.get(given["RoleArn"]), _read_tags(given)
        if not SHORTEST <= int(given.get("DurationSeconds", "3600")) <= CHAINED:
            return _refuse(400, "ValidationError", "DurationSeconds exceeds the MaxSessionDuration")
        if wrong := _find_wrong_tag(tags):
            return _refuse(400, "ValidationError", f"Value at 'tags' failed to satisfy: {wrong}")
        trusted = role is not None and given.get("ExternalId", "") == role.external_id
        if role is None or not trusted or (tags and not role.tags_allowed):
            what = "sts:TagSession" if trusted and tags else "sts:AssumeRole"
            return _refuse(403, "AccessDenied", f"User is not authorized to perform: {what}")
        if not role.tags.items() <= tags.items():
            return _refuse(403, "AccessDenied", "User is not authorized to perform: sts:AssumeRole")
        return await self._begin(role, given, tags, {})

    async def _answer_web_identity(self, given: dict[str, str]) -> web.Response:
        """Judge a token by its claims. Its signature is judged by tests/judges."""
        role, claims = self.roles.get(given["RoleArn"]), _read_claims(given["WebIdentityToken"])
        if claims is None:
            return _refuse(400, "InvalidIdentityToken", "The token is no JWT")
        if claims.get("exp", 0) < datetime.now(UTC).timestamp():
            return _refuse(400, "ExpiredTokenException", "Token expired")
        said = {name: str(claims.get(name)) for name in claims}
        if role is None or not role.claims or not role.claims.items() <= said.items():
            what = "sts:AssumeRoleWithWebIdentity"
            return _refuse(403, "AccessDenied", f"Not authorized to perform {what}")
        if not SHORTEST <= int(given.get("DurationSeconds", "3600")) <= role.longest:
            return _refuse(400, "ValidationError", "DurationSeconds exceeds the MaxSessionDuration")
        return await self._begin(role, given, {}, claims)

    async def _begin(
        self, role: Role, given: dict[str, str], tags: dict[str, str], claims: dict[str, Any]
    ) -> web.Response:
        name = given["RoleSessionName"]
        begun = Assumed(
            role.arn,
            name,
            int(given.get("DurationSeconds", "3600")),
            tags,
            *await self._make_credentials(role.arn, name),
            policy=given.get("Policy", ""),
            source_identity=given.get("SourceIdentity", ""),
            claims=claims,
        )
        self.assumed.append(begun)
        action = given["Action"]
        seconds = begun.duration if self.validity is None else self.validity
        return _describe(begun, action, given.get("Policy", ""), seconds)

    async def _make_credentials(self, role: str, session: str) -> tuple[str, str, str]:
        """Make key, token and secret."""
        if self.moto:
            held = await asyncio.to_thread(aws.assume_role, self.moto, role, session)
            return held.access_key_id, held.session_token, held.secret_access_key
        number = next(self._numbers)
        return f"ASIA{number:016d}", f"session-{number}", "secret"


def _read_tags(given: dict[str, str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for number in itertools.count(1):
        name = given.get(f"Tags.member.{number}.Key")
        if name is None:
            return tags
        tags[name] = given[f"Tags.member.{number}.Value"]
    return tags


_TAG = re.compile(r"[_.:/=+\-@]")


def _find_wrong_tag(tags: dict[str, str]) -> str | None:
    """Return the first tag that STS does not take, by its pattern and its lengths."""
    if len(tags) > 50:
        return "50 tags at most"
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256:
            return key
        for letter in key + value:
            if not _TAG.match(letter) and unicodedata.category(letter)[0] not in "LZN":
                return key
    return None


def _read_claims(token: str) -> dict[str, Any] | None:
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def _describe(begun: Assumed, action: str, policy: str, seconds: float) -> web.Response:
    packed = min(100, (len(policy) + sum(map(len, begun.tags.values()))) // 20)
    until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _say(
        200,
        f"<{action}Response xmlns='{NAMESPACE}'><{action}Result><Credentials>"
        f"<AccessKeyId>{begun.key}</AccessKeyId><SecretAccessKey>{begun.secret}</SecretAccessKey>"
        f"<SessionToken>{begun.token}</SessionToken><Expiration>{until}</Expiration>"
        f"</Credentials><PackedPolicySize>{packed}</PackedPolicySize>"
        f"</{action}Result></{action}Response>",
    )


def _refuse(status: int, code: str, message: str) -> web.Response:
    return _say(
        status,
        f"<ErrorResponse xmlns='{NAMESPACE}'><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{message}</Message></Error></ErrorResponse>",
    )


def _say(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/xml")


@asynccontextmanager
async def serving(moto: str = "") -> AsyncIterator[Sts]:
    """Serve an STS until the block is left; `moto` is the URL of one that makes credentials."""
    sts = Sts(moto=moto)
    async with listening(sts.answer) as url:
        sts.url = url
        yield sts
