"""A parameter of SSM Parameter Store that holds the right to register, for one runner."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import stamina
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore import exceptions as aws

from sidecar.errors import TokenError
from sidecar.net.retry import growing

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from aiobotocore.session import AioSession

log = structlog.get_logger()

CALLS = AioConfig(
    connect_timeout=3.0,
    read_timeout=5.0,
    retries={"total_max_attempts": 1},
    max_pool_connections=2,
)
"""Seconds for one call, and one try: how often it is tried is decided here, and logged."""
DEADLINE = 20.0
"""Seconds for one call with all that the library does for it: it may ask three times for the
task role's credentials, and its own clocks run for each socket alone."""
LONGEST_WAIT, LONGEST_IN_CROWD, LONGEST_GIVING_WAY = 4.0, 6.0, 30.0
"""Seconds between two tries, at most: for what is not there yet, and where SSM throttles.

Those whose parameter is there only have to share SSM's 40 calls a second: at most 6 s apart, the
last of a thousand is not late for want of asking. Those whose parameter is still to be written
share the same calls with who writes it, and give way: else none of them ever gets it.
"""
THROTTLES = {"ThrottlingException", "Throttling", "TooManyUpdates", "RequestLimitExceeded"}
DENIALS = {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"}
STRANGERS = {
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "IncompleteSignature",
}


class Unavailable(TokenError):
    """The parameter cannot be had now, but may be later."""


class Missing(Unavailable):
    """There is no such parameter (yet)."""


class Throttled(Unavailable):
    """The account as a whole asks SSM for more than its share."""


@dataclass(frozen=True, slots=True)
class Version:
    """One parameter, told apart from another that later bears its name.

    A re-created parameter begins at version 1 again, so the number alone does not tell.
    """

    number: int
    modified: datetime


class Store:
    """A client for SSM, made when it is first needed; closed on leaving.

    Entering does nothing, so that a stop at any moment finds something to delete the token with.
    Region, endpoint and credentials come the AWS way.
    """

    def __init__(self, region: str | None, session: Callable[[], AioSession] | None = None) -> None:
        self._region = region
        self._session = session
        self._open = AsyncExitStack()
        self._client: Any = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Store:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def client(self) -> Any:
        """Return the client; the first call resolves region and credentials."""
        async with self._connecting:
            if self._client is None:
                try:
                    session = (self._session or get_session)()
                    self._client = await self._open.enter_async_context(
                        session.create_client("ssm", region_name=self._region, config=CALLS)
                    )
                except ValueError as error:  # told apart from one of an answer
                    raise aws.InvalidEndpointConfigurationError(msg=str(error)) from error
        return self._client


class Parameter:
    """One parameter by its name or ARN. Every call raises TokenError, in one of its kinds."""

    def __init__(self, store: Store, name: str) -> None:
        self.name = name
        self.throttled_at: float | None = None
        """The loop's time when SSM first had too much to do for it."""
        self._store = store

    async def get(self, *, decrypt: bool = True) -> tuple[str, Version]:
        """Read value and version: one call of ssm:GetParameter."""
        try:
            async with asking(f"cannot read the token parameter {self.name}", "ssm:GetParameter"):
                client = await self._store.client()
                answer = await client.get_parameter(Name=self.name, WithDecryption=decrypt)
                found = answer["Parameter"]
                return found["Value"], Version(found["Version"], found["LastModifiedDate"])
        except Throttled:
            if self.throttled_at is None:
                self.throttled_at = asyncio.get_running_loop().time()
            raise
        raise AssertionError  # the block returns or raises

    async def delete(self) -> None:
        """Delete whatever bears the name: one call of ssm:DeleteParameter."""
        async with asking(f"cannot delete the token parameter {self.name}", "ssm:DeleteParameter"):
            client = await self._store.client()
            answer = await client.delete_parameter(Name=self.name)
            # Its answer is empty, so that a captive portal's page would do as well.
            answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]


async def appeared(parameter: Parameter, timeout: float) -> tuple[str, Version]:
    """Read the parameter as soon as it is there; it may be written after the task has started.

    Polls with jittered backoff for `timeout` seconds. A refusal ends it at once, a throttle
    makes it slower; raises TokenError with the last reason.
    """
    try:
        async for attempt in stamina.retry_context(on=patient(), attempts=None, timeout=timeout):
            with attempt:
                if attempt.num == 2:
                    log.info("token.awaited", parameter=parameter.name, seconds=timeout)
                return await parameter.get()
    except Unavailable as error:
        raise TokenError(f"{error}; waited {timeout:g} s for it (SIDECAR_TOKEN_TIMEOUT)") from error
    raise AssertionError  # retry_context returns or raises


async def deleted(parameter: Parameter, read: Version | None) -> str:
    """Delete the parameter if it is still the one that was read; retries until it is cut short.

    Returns what became of it: deleted, kept or absent.

    With `read` None nothing was read: a token that the launcher wrote for this task is still
    unread and nobody else's, so it goes too. Raises TokenError if it may not be deleted.
    """
    async for attempt in stamina.retry_context(on=patient(), attempts=None, timeout=None):
        with attempt:
            try:
                # What was never read needs no look: reading may be what is denied.
                if read is not None and (await parameter.get(decrypt=False))[1] != read:
                    log.info("token.kept", parameter=parameter.name, reason="it was written anew")
                    return "kept"
                await parameter.delete()
            except Missing:
                log.info("token.already_deleted", parameter=parameter.name, unread=read is None)
                return "absent"
            log.info("token.deleted", parameter=parameter.name, unread=read is None)
            return "deleted"
    raise AssertionError  # retry_context returns or raises


def patient() -> Callable[[Exception], bool | float]:
    """Make a stamina backoff hook that is slower in a crowd, and slowest where others must write.

    bench/fleet.py shows what these pauses do to a thousand agents, and to their neighbours.
    """
    waiting = growing(Unavailable, first=0.4, longest=LONGEST_WAIT)
    sharing = growing(Throttled, first=1.0, longest=LONGEST_IN_CROWD)
    giving_way = growing(Throttled, first=1.0, longest=LONGEST_GIVING_WAY)
    unwritten = False

    def pause(error: Exception) -> bool | float:
        nonlocal unwritten
        unwritten = unwritten or isinstance(error, Missing)
        return (giving_way if unwritten else sharing)(error) or waiting(error)

    return pause


class asking:  # noqa: N801  reads as the clause it is: `async with asking(...)`
    """Bounds one call, and makes the library's errors name the permission or setting to change."""

    def __init__(
        self,
        action: str,
        permission: str,
        *,
        setting: str = "SIDECAR_TOKEN_PARAMETER",
        service: str = "SSM",
    ) -> None:
        self._action = action
        self._permission = permission
        self._setting = setting
        self._service = service
        self._deadline = asyncio.timeout(DEADLINE)

    async def __aenter__(self) -> None:
        await self._deadline.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._deadline.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise Unavailable(f"{self._action}: no answer within {DEADLINE:g} s") from late
        self._translate(error)

    def _translate(self, error: BaseException | None) -> None:
        match error:
            case aws.ClientError():
                raise self._refusal(error) from error
            case aws.NoCredentialsError() | aws.PartialCredentialsError():
                raise TokenError(
                    f"{self._action}: no AWS credentials (the task needs a taskRoleArn)"
                ) from error
            case aws.NoRegionError():
                raise TokenError(f"{self._action}: no region is set (set AWS_REGION)") from error
            case aws.CredentialRetrievalError() | aws.MetadataRetrievalError():
                raise Unavailable(
                    f"{self._action}: the task role's credentials cannot be had: {error}"
                ) from error
            case (
                aws.HTTPClientError()
                | aws.EndpointConnectionError()
                | aiohttp.ClientError()
                | OSError()
            ):
                raise Unavailable(
                    f"{self._action}: no network path to {self._service} (a NAT gateway or an "
                    f"{self._service.lower()} endpoint in the VPC is needed): {_short(error)}"
                ) from error
            case aws.InvalidEndpointConfigurationError() | aws.UnknownEndpointError():
                raise TokenError(
                    f"{self._action}: {_short(error)} (look at AWS_REGION, AWS_ENDPOINT_URL_SSM)"
                ) from error
            case (
                aws.BotoCoreError() | KeyError() | ValueError() | TypeError() | AttributeError()
            ):  # the library's parser raises whatever it comes across
                raise Unavailable(f"{self._action}: unreadable answer: {_short(error)}") from error

    def _refusal(self, error: aws.ClientError) -> TokenError:
        detail = error.response.get("Error", {})
        code, message = str(detail.get("Code", "")), str(detail.get("Message", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in {"ParameterNotFound", "ParameterVersionNotFound"}:
            return Missing(f"{self._action}: there is no such parameter ({self._setting})")
        if code in THROTTLES:
            return Throttled(f"{self._action}: throttled by {self._service}")
        if code == "InvalidKeyId" or (code in DENIALS and _about_kms(message)):
            return TokenError(f"{self._action}: KMS refuses to decrypt it (needs kms:Decrypt)")
        if code in DENIALS:
            return TokenError(f"{self._action}: access denied (needs {self._permission})")
        if code in STRANGERS:
            return TokenError(f"{self._action}: AWS does not accept the credentials: {code}")
        if status >= 500 or status == 429:
            return Unavailable(f"{self._action}: {self._service} answers {status} {code}")
        return TokenError(f"{self._action}: {code}: {message} ({self._setting})")


def _about_kms(message: str) -> bool:
    return any(word in message.lower() for word in ("kms", "ciphertext", "customer master key"))


def _short(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
