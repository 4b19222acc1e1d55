"""Assume the role of a job: by the task role's word, or by GitHub's own token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog

from sidecar.aws.calls import STS, Call
from sidecar.aws.container_credentials import RejectedError, UnavailableError
from sidecar.aws.own_session import make_session
from sidecar.aws.session import ServiceClient
from sidecar.github import errors as github_errors
from sidecar.github.errors import GitHubError
from sidecar.relay import sts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiobotocore.session import AioSession

    from sidecar.aws.agent_credentials import AgentCredentials
    from sidecar.aws.container_credentials import Credentials, Fetch

log = structlog.get_logger()

SETTING = "SIDECAR_ROLES"
FULL = 90
"""Per cent of the room for policy and tags from which on the log warns."""
_REFUSALS = sts.make_refusals(SETTING) | {
    "IDPRejectedClaim": "GitHub's token is not what the role's trust policy asks for",
    "IDPRejectedClaimException": "GitHub's token is not what the role's trust policy asks for",
    "InvalidIdentityToken": "AWS does not take GitHub's token: the account needs an identity "
    "provider for its issuer, with the audience sts.amazonaws.com",
    "InvalidIdentityTokenException": "AWS does not take GitHub's token: the account needs an "
    "identity provider for its issuer, with the audience sts.amazonaws.com",
}

ReadToken = Callable[[], Awaitable[str]]
"""Asks GitHub for a new token of the job's. Raises GitHubError."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A request to STS for one session."""

    rule: str
    role: str
    name: str
    """Of the session: CloudTrail shows it."""
    duration: int
    policy: str | None = field(default=None, repr=False)
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    source_identity: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments that both calls have."""
        arguments: dict[str, Any] = {
            "RoleArn": self.role,
            "RoleSessionName": self.name,
            "DurationSeconds": self.duration,
        }
        if self.policy is not None:
            arguments["Policy"] = self.policy
        return arguments


def make_client(
    region: str | None, own: AgentCredentials | None, *, anonymous: bool
) -> ServiceClient:
    """Make a client of STS with the agent's own credentials, or with none."""

    def session() -> AioSession:
        return own.session if own is not None and not anonymous else make_session()

    return ServiceClient(STS, region, session, anonymous=anonymous)


class RoleSession:
    """A source of credentials: one role, assumed again before each session ends."""

    def __init__(
        self,
        request: SessionRequest,
        region: str | None,
        own: AgentCredentials | None,
        read_token: ReadToken | None = None,
        client: ServiceClient | None = None,
    ) -> None:
        """Make it. With `read_token` GitHub's token is the proof, and `own` is not used.

        `client` is an open one of `make_client`; without it the source has its own.
        """
        self._client = client
        self._request = request
        self._region = region
        self._own = own
        self._read_token = read_token
        self._told = False

    @property
    def where(self) -> str:
        """Name this source in a log."""
        return "sts:AssumeRole" if self._read_token is None else "sts:AssumeRoleWithWebIdentity"

    @property
    def advice(self) -> str:
        """Say what to change when it does not work."""
        return f"check the rule {self._request.rule!r} of {SETTING}; jobs never get the task role"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Fetch]:
        """Yield the function that assumes the role."""
        if self._client is not None:  # whoever opened it closes it
            yield partial(self._fetch, self._client)
            return
        anonymous = self._read_token is not None
        async with make_client(self._region, self._own, anonymous=anonymous) as client:
            yield partial(self._fetch, client)

    async def _fetch(self, client: ServiceClient, now: float, timeout: float) -> Credentials:
        trusts = "names the task role, with sts:TagSession"
        permission = f"sts:AssumeRole and sts:TagSession on it, and a trust policy that {trusts}"
        if self._read_token is not None:
            permission = "a trust policy of the role for GitHub's identity provider and this job"
        call = Call(
            f"cannot assume {self._request.role} for the rule {self._request.rule!r}",
            STS,
            permission,
            SETTING,
            _REFUSALS,
            quotes_aws=False,
        )
        assume = partial(self._assume, client)
        if self._read_token is not None:
            token = await _read(self._read_token)
            assume = partial(self._assume_by_token, client, token)
        return await sts.ask(
            call,
            assume,
            lambda: self._request.role,
            self.where,
            now=now,
            timeout=timeout,
        )

    async def _assume(self, client: ServiceClient) -> Mapping[str, Any]:
        sts_client = await client.connect()
        request = self._request
        arguments = request.arguments
        if request.tags:
            arguments["Tags"] = [{"Key": key, "Value": text} for key, text in request.tags.items()]
        if request.source_identity is not None:
            arguments["SourceIdentity"] = request.source_identity
        return self._tell(await sts_client.assume_role(**arguments))

    async def _assume_by_token(self, client: ServiceClient, token: str) -> Mapping[str, Any]:
        sts_client = await client.connect()
        return self._tell(
            await sts_client.assume_role_with_web_identity(
                **self._request.arguments, WebIdentityToken=token
            )
        )

    def _tell(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Log once how much of the room for policy and tags is used; return the answer."""
        used = answer.get("PackedPolicySize")
        if not self._told:
            self._told = True
            full = isinstance(used, int) and used >= FULL
            facts = {"rule": self._request.rule, "role": self._request.role, "packed_percent": used}
            if full:
                log.warning("role.nearly_full", **facts, tags=len(self._request.tags))
            else:
                log.debug("role.assumed", **facts, session=self._request.name)
        return answer


async def _read(read_token: ReadToken) -> str:
    """Ask for GitHub's token; its failures become those of a fetch."""
    try:
        return await read_token()
    except github_errors.TransientError as error:
        raise UnavailableError(str(error)) from error
    except GitHubError as error:
        raise RejectedError(str(error)) from error
