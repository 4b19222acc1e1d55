"""The role that jobs have in place of the task's: assumed, with less, and for an hour at most.

One role that assumes another ("role chaining") gets an hour of it and no more, whatever the role's
own maximum (AWS IAM User Guide, "Methods to assume a role"); the relay refreshes it as it does
everything else.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore import exceptions as aws

from sidecar.aws.container_credentials import (
    Credentials,
    RejectedError,
    UnavailableError,
    UpstreamError,
    parse,
    reason,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.aws.agent_credentials import AgentCredentials
    from sidecar.aws.container_credentials import Ask

SECONDS = 3600
"""How long each session lives: the most that role chaining allows."""
NAME_LENGTH = 64
"""Characters of a session's name; it has two at least."""

_CALLS = AioConfig(
    connect_timeout=3.0,
    read_timeout=8.0,
    # One try: the keeper decides how often it is asked, with growing, jittered pauses, and logs it.
    retries={"total_max_attempts": 1},
    max_pool_connections=1,
)
_THROTTLES = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"}
_DENIALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_POLICY = {
    "MalformedPolicyDocument": "STS cannot read it",
    "MalformedPolicyDocumentException": "STS cannot read it",
    "PackedPolicyTooLarge": "it is too large for a session",
    "PackedPolicyTooLargeException": "it is too large for a session",
}
_PASSING = {"ExpiredToken", "ExpiredTokenException", "InternalFailure", "ServiceUnavailable"}


@dataclass(frozen=True, slots=True)
class Terms:
    """What jobs get; at least one of the two."""

    role_arn: str | None
    """SIDECAR_JOB_ROLE_ARN; None: the task role itself, cut down by the policy."""
    policy: str | None = field(repr=False)
    """SIDECAR_JOB_POLICY, as JSON: what the session may do at most."""
    region: str | None
    """Of the STS that is asked; None leaves it to the AWS library."""


def session_name(runner: str) -> str:
    """Return the runner's name as a session's, by which CloudTrail tells what a job did."""
    name = re.sub(r"[^\w+=,.@-]", "-", runner, flags=re.ASCII)[:NAME_LENGTH]
    return name if len(name) >= 2 else f"job-{name}"


class JobRole:
    """A source of credentials for the relay: `sts:AssumeRole` with the agent's own.

    It is silent until it knows the runner's name, which is the session's.
    """

    def __init__(self, terms: Terms, own: AgentCredentials | None) -> None:
        self._terms = terms
        self._own = own
        self._session = own.session if own is not None else AioSession()
        self._name = ""
        self._named = asyncio.Event()

    def name(self, runner: str) -> None:
        """Tell which runner the jobs are run by; asking begins then."""
        self._name = session_name(runner)
        self._named.set()

    @property
    def where(self) -> str:
        """What a log may call it."""
        return "sts:AssumeRole"

    @property
    def advice(self) -> str:
        """What a person may change when it does not work."""
        return "check SIDECAR_JOB_ROLE_ARN and SIDECAR_JOB_POLICY; jobs never get the task role"

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[Ask]:
        """Be ready to be asked within the block."""
        await self._named.wait()
        async with AsyncExitStack() as opened:
            yield partial(self._ask, _Client(self._session, self._terms.region, opened))

    async def _ask(self, client: _Client, now: float, timeout: float) -> Credentials:
        try:
            async with asyncio.timeout(timeout):
                answer = await self._assumed(await client.made())
        except UpstreamError:
            raise
        except Exception as error:
            raise _translated(error, timeout, self._role) from error
        return parse(_body(answer), now=now, where=self.where)

    @property
    def _role(self) -> str | None:
        if self._terms.role_arn is not None:
            return self._terms.role_arn
        return self._own.role_arn if self._own is not None else None

    async def _assumed(self, client: Any) -> Any:
        if self._role is None and self._own is not None:
            # The endpoint names the task role together with its credentials.
            await (await self._session.get_credentials()).get_frozen_credentials()
        if self._role is None:
            raise RejectedError(
                "cannot tell which role SIDECAR_JOB_POLICY is to cut down (set "
                "SIDECAR_JOB_ROLE_ARN, to the task role's ARN if need be)"
            )
        wanted: dict[str, Any] = {
            "RoleArn": self._role,
            "RoleSessionName": self._name,
            "DurationSeconds": SECONDS,
        }
        if self._terms.policy is not None:
            wanted["Policy"] = self._terms.policy
        answer = await client.assume_role(**wanted)
        return {**answer["Credentials"], "RoleArn": wanted["RoleArn"]}


class _Client:
    """A client of STS, made when it is first needed, inside what translates its errors."""

    def __init__(self, session: AioSession, region: str | None, opened: AsyncExitStack) -> None:
        self._session, self._region, self._opened = session, region, opened
        self._client: Any = None

    async def made(self) -> Any:
        if self._client is None:
            self._client = await self._opened.enter_async_context(
                self._session.create_client("sts", region_name=self._region, config=_CALLS)
            )
        return self._client


def _body(held: dict[str, Any]) -> bytes:
    """Write what STS answered as the ECS agent would."""
    expires = held.get("Expiration")
    document = {
        "RoleArn": held.get("RoleArn"),
        "AccessKeyId": held.get("AccessKeyId"),
        "SecretAccessKey": held.get("SecretAccessKey"),
        "Token": held.get("SessionToken"),
        "Expiration": expires.isoformat() if isinstance(expires, datetime) else expires,
    }
    return json.dumps(document).encode()


def _translated(error: Exception, timeout: float, role: str | None) -> UpstreamError:
    """Tell what the library raised in words that name the permission or the setting."""
    action = f"cannot assume {role or 'the task role'} for jobs"
    if isinstance(error, aws.ClientError):
        return _refusal(action, error)
    if (lacking := _lacking(error)) is not None:
        return RejectedError(f"{action}: {lacking}")
    match error:
        case TimeoutError():
            why = f"STS did not answer within {timeout:g} s"
        case aws.CredentialRetrievalError() | aws.MetadataRetrievalError():
            why = f"the task role's credentials cannot be had: {_short(error)}"
        case aws.HTTPClientError() | aws.EndpointConnectionError() | aiohttp.ClientError():
            why = (
                "no network path to STS (a NAT gateway or an sts endpoint in the VPC is needed): "
                f"{_short(error)}"
            )
        case OSError():
            why = f"no network path to STS: {reason(error)}"
        case _:  # the library's parser raises whatever it comes across
            why = f"unreadable answer: {type(error).__name__}"
    return UnavailableError(f"{action}: {why}")


def _lacking(error: Exception) -> str | None:
    """Tell what no second try would change, if that is what it is."""
    match error:
        case aws.NoCredentialsError() | aws.PartialCredentialsError():
            return "no AWS credentials (the task needs a taskRoleArn)"
        case aws.NoRegionError():
            return "no region is set (set AWS_REGION)"
        case aws.InvalidEndpointConfigurationError() | aws.UnknownEndpointError() | ValueError():
            return f"{_short(error)} (look at AWS_REGION, AWS_ENDPOINT_URL_STS)"
        case aws.ParamValidationError():
            return "it is no role or no policy (SIDECAR_JOB_ROLE_ARN, SIDECAR_JOB_POLICY)"
    return None


def _refusal(action: str, error: aws.ClientError) -> UpstreamError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLES or status == 429:
        return UnavailableError(f"{action}: throttled by STS")
    if code in _DENIALS:
        return RejectedError(
            f"{action}: access denied (the task role needs sts:AssumeRole on it, and its trust "
            "policy must name the task role)"
        )
    if code in _POLICY:
        return RejectedError(f"{action}: {_POLICY[code]} (SIDECAR_JOB_POLICY): {code}")
    if code.startswith("RegionDisabled"):
        return RejectedError(f"{action}: STS is not active in this region (AWS_REGION)")
    if code == "ValidationError":
        return RejectedError(f"{action}: STS does not accept it (SIDECAR_JOB_ROLE_ARN): {code}")
    if status >= 500 or code in _PASSING:
        return UnavailableError(f"{action}: STS answers {status} {code}")
    return RejectedError(f"{action}: STS answers {status} {code} (SIDECAR_JOB_ROLE_ARN)")


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
