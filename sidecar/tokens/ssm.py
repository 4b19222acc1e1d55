"""Read and delete the SSM parameter that holds the registration token of one runner."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from sidecar.aws.calls import (
    SSM,
    AccessDenied,
    AwsError,
    Call,
    NotFound,
    RateLimited,
    TransientError,
    backoff,
)
from sidecar.aws.references import find_region
from sidecar.aws.session import ServiceClient
from sidecar.errors import TokenError
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aiobotocore.session import AioSession

log = structlog.get_logger()

SETTING = "SIDECAR_TOKEN_PARAMETER"


@dataclass(frozen=True, slots=True)
class ParameterVersion:
    """One version of a parameter, different from any later one of the same name.

    A parameter that was deleted and created again begins at version 1, so the number alone is not
    enough.
    """

    number: int
    modified: datetime


class ParameterStore(ServiceClient):
    """A client of SSM Parameter Store; region, endpoint and credentials come the AWS way."""

    def __init__(
        self, region: str | None, make_session: Callable[[], AioSession] | None = None
    ) -> None:
        super().__init__(SSM, region, make_session)


class Parameter:
    """One parameter by its name or ARN. Every call raises AwsError, in one of its kinds.

    `for_task`: its name holds the task's id. A policy may then allow only what is tagged with the
    task, and while there is no such parameter SSM answers that access is denied.
    """

    def __init__(
        self, store: ParameterStore, name: str, *, for_task: bool = False, setting: str = SETTING
    ) -> None:
        self.name = name
        self.for_task = for_task
        self.setting = setting
        """The setting that its name comes from: errors name it."""
        self._own_name = _find_own_name(name)
        """Its name where it is known by an ARN, which SSM does not take to delete it."""
        self.throttled_at: float | None = None
        """The loop's time when SSM first throttled a read."""
        self._store = store

    async def read(
        self, *, decrypt: bool = True, timeout: float | None = None
    ) -> tuple[str, ParameterVersion]:
        """Read value and version: one call of ssm:GetParameter."""

        async def read() -> tuple[str, ParameterVersion]:
            client = await self._store.connect()
            answer = await client.get_parameter(Name=self.name, WithDecryption=decrypt)
            found = answer["Parameter"]
            self._own_name = found.get("Name") or self._own_name
            return found["Value"], ParameterVersion(found["Version"], found["LastModifiedDate"])

        try:
            return await self._call("read", "ssm:GetParameter").run(read, timeout)
        except RateLimited:
            if self.throttled_at is None:
                self.throttled_at = asyncio.get_running_loop().time()
            raise
        except AccessDenied as error:
            if self.for_task:
                raise NotFound(f"{error}, or it does not exist yet") from error
            raise

    async def delete(self) -> None:
        """Delete whatever has the name now: one call of ssm:DeleteParameter."""

        async def delete() -> None:
            client = await self._store.connect()
            answer = await client.delete_parameter(Name=self._own_name)
            # SSM answers an empty body, and a captive portal's page would look the same.
            answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]

        await self._call("delete", "ssm:DeleteParameter").run(delete)

    def _call(self, verb: str, permission: str) -> Call:
        action = f"cannot {verb} the token parameter {self.name}"
        return Call(action, SSM, permission, self.setting)


def _find_own_name(name: str) -> str:
    """Return the name within an ARN: a path, or one word, which has no slash before it."""
    if find_region(name) is None:
        return name
    path = name.partition(":parameter/")[2]
    return f"/{path}" if "/" in path else path


async def wait_for_value(parameter: Parameter, timeout: float) -> tuple[str, ParameterVersion]:
    """Read the parameter as soon as it exists; it may be written after the task has started.

    Tries for `timeout` seconds, with growing pauses. A refusal is final. Raises TokenError with
    the last reason.
    """
    tries = 0

    async def read() -> tuple[str, ParameterVersion]:
        nonlocal tries
        tries += 1
        if tries == 2:
            log.info("token.awaited", parameter=parameter.name, seconds=timeout)
        return await parameter.read()

    try:
        return await call_with_retries(read, backoff(wait_for_missing=True), seconds=timeout)
    except (TransientError, NotFound) as error:
        raise TokenError(f"{error}; waited {timeout:g} s for it (SIDECAR_TOKEN_TIMEOUT)") from error
    except AwsError as error:
        raise TokenError(str(error)) from error


async def delete_if_unchanged(parameter: Parameter, read: ParameterVersion | None) -> str:
    """Delete the parameter if it is still the one that was read; tries until it is cancelled.

    Returns the result: deleted, kept or absent. With `read` None nothing was read: the launcher
    wrote the token for this task and no other will use it, so it is deleted too. Raises TokenError
    if it may not be deleted.
    """
    try:
        return await call_with_retries(lambda: _delete_once(parameter, read), backoff())
    except AwsError as error:
        raise TokenError(str(error)) from error


async def _delete_once(parameter: Parameter, read: ParameterVersion | None) -> str:
    try:
        # If nothing was read, do not read now: perhaps the task role may not read. And under the
        # task's own name nothing is ever written for another task.
        compares = read is not None and not parameter.for_task
        if compares and (await parameter.read(decrypt=False))[1] != read:
            log.info("token.kept", parameter=parameter.name, reason="it was written anew")
            return "kept"
        await parameter.delete()
    except NotFound:
        log.info("token.already_deleted", parameter=parameter.name, unread=read is None)
        return "absent"
    except AccessDenied as error:
        if read is None and parameter.for_task:  # as while nothing had been written
            log.info("token.never_allowed", parameter=parameter.name, reason=str(error))
            return "absent"
        raise
    log.info("token.deleted", parameter=parameter.name, unread=read is None)
    return "deleted"
