"""STS as AssumeRole sees it: trust policies with external ids, session tags, durations.

moto assumes every role for everybody. With its URL the credentials are of its own making, so that
its other services know the account that they belong to. Source: STS's API reference, "AssumeRole".
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
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
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, arn: str, external_id: str, *, tags_allowed: bool = True) -> None:
        """Make a role."""
        self.roles[arn] = Role(arn, external_id, tags_allowed)

    def find_account(self, key: str) -> str:
        """Return the account that an access key belongs to."""
        found = [each.account for each in self.assumed if each.key == key]
        return found[0] if found else aws.ACCOUNT

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        given = dict(parse_qsl((await request.read()).decode()))
        if given.get("Action") != "AssumeRole":
            return _refuse(400, "InvalidAction", f"no such action: {given.get('Action')}")
        role, duration = self.roles.get(given["RoleArn"]), int(given.get("DurationSeconds", "3600"))
        if not SHORTEST <= duration <= CHAINED:
            return _refuse(400, "ValidationError", "DurationSeconds exceeds the MaxSessionDuration")
        tags = _read_tags(given)
        trusted = role is not None and given.get("ExternalId") == role.external_id
        if role is None or not trusted or (tags and not role.tags_allowed):
            what = "sts:TagSession" if trusted and tags else "sts:AssumeRole"
            return _refuse(403, "AccessDenied", f"User is not authorized to perform: {what}")
        begun = Assumed(
            role.arn,
            given["RoleSessionName"],
            duration,
            tags,
            *await self._make_credentials(role.arn, given["RoleSessionName"]),
        )
        self.assumed.append(begun)
        return _describe(begun)

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


def _describe(begun: Assumed) -> web.Response:
    until = (datetime.now(UTC) + timedelta(seconds=begun.duration)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _say(
        200,
        f"<AssumeRoleResponse xmlns='{NAMESPACE}'><AssumeRoleResult><Credentials>"
        f"<AccessKeyId>{begun.key}</AccessKeyId><SecretAccessKey>{begun.secret}</SecretAccessKey>"
        f"<SessionToken>{begun.token}</SessionToken><Expiration>{until}</Expiration>"
        f"</Credentials></AssumeRoleResult></AssumeRoleResponse>",
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
