"""Where the right to register comes from. One verb: borrowed."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from sidecar.log import events
from sidecar.tokens import ssm, value
from sidecar.tokens.given import GivenToken
from sidecar.tokens.minted import MintedToken
from sidecar.tokens.ssm import Store
from sidecar.tokens.value import RegistrationToken

if TYPE_CHECKING:
    from sidecar.shutdown.cleanup import CleanupStack, CleanupStep

log = structlog.get_logger()

__all__ = [
    "GivenToken",
    "MintedToken",
    "RegistrationToken",
    "Store",
    "TokenParameter",
    "read_later",
]

LIFETIME = 55 * 60.0
"""Seconds after which a registration token, good for an hour, is not relied on any more."""

READS_PER_DELETE = 8
"""SSM grants an account 40 reads and 5 deletes in a second."""
CROWD, LONGEST_PUT_OFF = 30.0, 240.0
"""Seconds that a delete is put off in a crowd: at least, until the others have been let in, and
at most. The end of the life begins it in any case."""


class TokenParameter:
    """A token that is ours until it is given back."""

    def __init__(self, parameter: ssm.Parameter) -> None:
        self.cleanup_step: CleanupStep
        self._parameter = parameter
        self._read: ssm.Version | None = None
        self._crowded = 0.0
        self._put_off: asyncio.TimerHandle | None = None

    async def arrived(self, timeout: float) -> value.RegistrationToken:
        """Wait up to `timeout` seconds for the token; raises TokenError."""
        text, self._read = await ssm.appeared(self._parameter, timeout)
        if self._parameter.throttled_at is not None:
            self._crowded = asyncio.get_running_loop().time() - self._parameter.throttled_at
        right = value.parse(text, f"the token parameter {self._parameter.name}")
        events.hide(text.strip())
        if right.token:
            events.hide(right.token)
        log.info("token.read", parameter=self._parameter.name, version=self._read.number)
        return right

    def served(self) -> None:
        """Begin to delete it: it has done what it was for, and the job need not wait.

        Who was throttled puts it off. All who were read before this one were read in the time
        that it waited, and their deletes take eight times as long: so each comes when its turn
        is, and meanwhile takes no call from those that have yet to start.
        """
        pause = 0.0
        if self._crowded:
            pause = min(CROWD + self._crowded * (READS_PER_DELETE - 1), LONGEST_PUT_OFF)
            pause *= random.uniform(0.8, 1.2)  # noqa: S311  spread, not secrecy
        self._put_off = asyncio.get_running_loop().call_later(pause, self.cleanup_step.begin)

    async def give_back(self) -> str:
        """Delete the parameter, if it is still the one that was read; return what became of it."""
        if self._put_off is not None:
            self._put_off.cancel()
        return await ssm.deleted(self._parameter, self._read)

    def usable(self, now: datetime | None = None) -> bool:
        """Whether GitHub still takes the token: it is at least as old as its parameter."""
        if self._read is None:
            return False
        return ((now or datetime.now(UTC)) - self._read.modified).total_seconds() < LIFETIME


def read_later(store: ssm.Store, name: str, run_cleanup: CleanupStack) -> TokenParameter:
    """Owe the SSM parameter `name` from now on, before the first read: no stop misses it."""
    loan = TokenParameter(ssm.Parameter(store, name))
    loan.cleanup_step = run_cleanup.register_step("token", loan.give_back)
    return loan
