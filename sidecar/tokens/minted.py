"""A registration token that the agent mints itself, as a GitHub App or with a PAT."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from sidecar import github
from sidecar.errors import TokenError
from sidecar.tokens.value import RegistrationToken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger()

SPARE = 5 * 60.0
"""Seconds before its end from which a token is not relied on any more."""


class MintedToken:
    """Gives the right to register, out of nothing but a credential."""

    def __init__(self, runners: Callable[[], Awaitable[github.Runners]], *, jit: bool) -> None:
        self._runners = runners
        self._jit = jit
        self._expires: datetime | None = None

    async def arrived(self, timeout: float) -> RegistrationToken:
        """Mint the token; raises TokenError, after `timeout` seconds at the latest.

        Just in time there is none: registering itself is then the first call.
        """
        if self._jit:
            return RegistrationToken()
        try:
            async with asyncio.timeout(timeout):
                token = await (await self._runners()).registration_token(tries=None)
        except TimeoutError as error:
            raise TokenError(
                f"cannot mint a registration token: no answer within {timeout:g} s "
                "(SIDECAR_TOKEN_TIMEOUT)"
            ) from error
        except github.GitHubError as error:
            raise TokenError(
                f"cannot mint a registration token: {error} (needs administration:write for a "
                "repository, organization_self_hosted_runners:write for an organization)"
            ) from error
        self._expires = token.expires_at
        log.info("token.minted", expires=token.expires_at.isoformat())
        return RegistrationToken(token=token.secret)

    def usable(self, now: datetime | None = None) -> bool:
        """Whether GitHub still takes the token."""
        if self._expires is None:
            return False
        return (self._expires - (now or datetime.now(UTC))).total_seconds() > SPARE

    def served(self) -> None:
        """Do nothing: nobody but us ever saw the token."""
