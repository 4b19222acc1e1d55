"""A registration token that the agent asks GitHub for, as a GitHub App or with a PAT."""

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

NEEDS = (
    "needs administration:write for a repository, organization_self_hosted_runners:write for an "
    "organization"
)
SPARE = 5 * 60.0
"""Seconds before its end from which a token is not used any more."""


class MintedToken:
    """A registration token made with the agent's own credential for GitHub."""

    def __init__(self, runners: Callable[[], Awaitable[github.Runners]], *, jit: bool) -> None:
        self._runners = runners
        self._jit = jit
        self._expires: datetime | None = None

    async def wait(self, timeout: float) -> RegistrationToken:
        """Mint the token within `timeout` seconds. Raises TokenError.

        Just in time there is none: the first call registers the runner.
        """
        if self._jit:
            return RegistrationToken()
        end = asyncio.get_running_loop().time() + timeout
        runners = await self._runners()  # it has a limit of its own, and a reason if it fails
        try:
            async with asyncio.timeout_at(end):
                token = await runners.create_registration_token(tries=None)
                url = await _find_new_url(runners)
        except TimeoutError as error:
            raise TokenError(
                f"cannot mint a registration token: no answer within {timeout:g} s "
                "(SIDECAR_TOKEN_TIMEOUT)"
            ) from error
        except github.GitHubError as error:
            hint = github.advise(error, NEEDS)
            raise TokenError(f"cannot mint a registration token: {error}{hint}") from error
        self._expires = token.expires_at
        log.info("token.minted", expires=token.expires_at.isoformat())
        return RegistrationToken(token=token.secret, url=url)

    def is_usable(self, now: datetime | None = None) -> bool:
        """Whether GitHub still accepts the token."""
        if self._expires is None:
            return False
        return (self._expires - (now or datetime.now(UTC))).total_seconds() > SPARE

    def delete_soon(self) -> None:
        """Do nothing: only this process has the token."""


async def _find_new_url(runners: github.Runners) -> str | None:
    """Return the URL to register at, where the repository has a new name; else None.

    The token is there already, so an answer that fails is no reason to fail.
    """
    try:
        return await runners.find_new_url()
    except github.GitHubError as error:
        log.warning("github.redirect_unresolved", reason=str(error))
        return None
