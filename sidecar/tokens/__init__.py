"""Where the right to register comes from. One verb: borrowed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from sidecar import logs
from sidecar.tokens import ssm, value
from sidecar.tokens.minted import Mint
from sidecar.tokens.ssm import Store
from sidecar.tokens.value import Right

if TYPE_CHECKING:
    from sidecar.undo import Debt, Farewell

log = structlog.get_logger()

__all__ = ["Loan", "Mint", "Right", "Store", "borrowed"]

LIFETIME = 55 * 60.0
"""Seconds after which a registration token, good for an hour, is not relied on any more."""


class Loan:
    """A token that is ours until it is given back."""

    def __init__(self, parameter: ssm.Parameter) -> None:
        self.debt: Debt
        self._parameter = parameter
        self._read: ssm.Version | None = None

    async def arrived(self, timeout: float) -> value.Right:
        """Wait up to `timeout` seconds for the token; raises TokenError."""
        text, self._read = await ssm.appeared(self._parameter, timeout)
        right = value.parse(text, f"the token parameter {self._parameter.name}")
        logs.hide(text.strip())
        if right.token:
            logs.hide(right.token)
        log.info("token.borrowed", parameter=self._parameter.name, version=self._read.number)
        return right

    def served(self) -> None:
        """Begin to delete it: it has done what it was for, and the job need not wait."""
        self.debt.begin()

    async def give_back(self) -> None:
        """Delete the parameter, if it is still the one that was read."""
        await ssm.deleted(self._parameter, self._read)

    def usable(self, now: datetime | None = None) -> bool:
        """Whether GitHub still takes the token: it is at least as old as its parameter."""
        if self._read is None:
            return False
        return ((now or datetime.now(UTC)) - self._read.modified).total_seconds() < LIFETIME


def borrowed(store: ssm.Store, name: str, farewell: Farewell) -> Loan:
    """Owe the SSM parameter `name` from now on, before the first read: no stop misses it."""
    loan = Loan(ssm.Parameter(store, name))
    loan.debt = farewell.owe("token", loan.give_back)
    return loan
