"""The registration token in an SSM parameter, from the first read until it is deleted."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from sidecar.aws import sealing
from sidecar.errors import TokenError
from sidecar.log import masks
from sidecar.tokens import ssm, value

if TYPE_CHECKING:
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep

log = structlog.get_logger()

LIFETIME = 55 * 60.0
"""Seconds after which a registration token is not used any more; GitHub accepts it for an hour."""

READS_PER_DELETE = 8
"""SSM grants an account 40 reads and 5 deletes in a second."""
LEAST_DELAY, LONGEST_DELAY = 30.0, 240.0
"""Seconds that a delete is delayed where SSM throttles: at least, so that the other tasks can
start, and at most. The end of the life does not wait for it."""


class TokenParameter:
    """The token parameter of one life: read once, then deleted.

    `key` opens a value that is sealed.
    """

    def __init__(self, parameter: ssm.Parameter, key: str | None = None) -> None:
        self.cleanup_step: CleanupStep
        self._parameter = parameter
        self._key = key
        self._version: ssm.ParameterVersion | None = None
        """What was read."""
        self._throttled_seconds = 0.0
        """How long the read took from the first throttle on."""
        self._delayed: asyncio.TimerHandle | None = None
        self._kept = False
        """Whether the launcher deletes it."""

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self._parameter.name

    async def wait(self, timeout: float) -> value.RegistrationToken:
        """Wait up to `timeout` seconds for the token. Raises TokenError."""
        text, self._version = await ssm.wait_for_value(self._parameter, timeout)
        if self._parameter.throttled_at is not None:
            now = asyncio.get_running_loop().time()
            self._throttled_seconds = now - self._parameter.throttled_at
        token = open_token(text, self._parameter.name, self._key)
        self._kept = token.keep and self._parameter.for_task
        log.info("token.read", parameter=self._parameter.name, version=self._version.number)
        return token

    def delete_soon(self) -> None:
        """Begin to delete the parameter; the job does not wait for it.

        A task that was throttled delays this. While it waited to read, SSM served other tasks, and
        to delete their tokens takes eight times as long. So each delete waits for its turn, and
        takes no call from tasks that have not started yet.
        """
        delay = 0.0
        if self._throttled_seconds:
            delay = LEAST_DELAY + self._throttled_seconds * (READS_PER_DELETE - 1)
            delay = min(delay, LONGEST_DELAY)
            delay *= random.uniform(0.8, 1.2)  # noqa: S311  spread, not secrecy
        self._delayed = asyncio.get_running_loop().call_later(delay, self.cleanup_step.begin)

    async def delete(self) -> str:
        """Delete the parameter if it is still the one that was read; return the result.

        One that the launcher deletes is left: SSM permits an account five deletes a second, and the
        launcher deletes ten parameters with each.
        """
        if self._kept:
            log.info("token.kept", parameter=self._parameter.name, reason="the launcher deletes it")
            return "kept"
        if self._delayed is not None:
            self._delayed.cancel()
        return await ssm.delete_if_unchanged(self._parameter, self._version)

    def is_usable(self, now: datetime | None = None) -> bool:
        """Whether GitHub still accepts the token, which is at least as old as its parameter."""
        if self._version is None:
            return False
        return ((now or datetime.now(UTC)) - self._version.modified).total_seconds() < LIFETIME


def open_token(text: str, name: str, key: str | None) -> value.RegistrationToken:
    """Unseal and parse what the parameter `name` holds, and keep it out of the log.

    `key` opens a value that is sealed. Raises TokenError, which never shows the text.
    """
    where = f"the token parameter {name}"
    text = _unseal(text, name, key, where) if sealing.is_sealed(text) else text
    token = value.parse_token(text, where)
    value.hide(text, token)
    return token


def _unseal(text: str, name: str, key: str | None, where: str) -> str:
    if key is None:
        raise TokenError(f"cannot use {where}: it is sealed (SIDECAR_TOKEN_KEY is missing)")
    masks.hide(key)
    try:
        return sealing.unseal(text, key, name.rpartition("/")[2])
    except ValueError as error:
        raise TokenError(f"cannot use {where}: {error} (SIDECAR_TOKEN_KEY)") from None


def claim_parameter(
    store: ssm.ParameterStore,
    name: str,
    cleanup_stack: CleanupStack,
    *,
    for_task: bool = False,
    key: str | None = None,
) -> TokenParameter:
    """Register the deletion of the parameter `name` as a cleanup step, before the first read.

    So the parameter is deleted even if the stop comes very early. `for_task`: its name holds the
    task's id. `key` opens a value that is sealed.
    """
    parameter = TokenParameter(ssm.Parameter(store, name, for_task=for_task), key)
    parameter.cleanup_step = cleanup_stack.register_step("token", parameter.delete)
    return parameter
