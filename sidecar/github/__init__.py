"""GitHub's REST API, as far as a runner's life needs it.

Documented at docs.github.com/rest/actions/self-hosted-runners and in GitHub's OpenAPI description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from sidecar.github.api import Api, Denied, GitHubError, Limited, Passing
from sidecar.github.credentials import App, Credential, Pat
from sidecar.github.runners import Busy, Jit, NameTaken, Runner, Runners
from sidecar.github.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = [
    "App",
    "Busy",
    "Connection",
    "Credential",
    "Denied",
    "GitHubError",
    "Jit",
    "Limited",
    "NameTaken",
    "Passing",
    "Pat",
    "Runner",
    "Runners",
    "Scope",
]


class Connection:
    """The API, opened when it is first asked; closed on leaving.

    Where to ask may only become known with the token, and what to ask with may have to be
    fetched: so both are told late.
    """

    def __init__(self, credential: Callable[[], Awaitable[Credential]]) -> None:
        self.url: str | None = None
        """The repository, organization or enterprise."""
        self._credential = credential
        self._session: aiohttp.ClientSession | None = None
        self._runners: Runners | None = None

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def runners(self) -> Runners:
        """Return the calls. Raises SidecarError when the credential cannot be had."""
        if self._runners is None:
            if self.url is None:
                raise GitHubError("cannot ask GitHub: SIDECAR_GITHUB_URL is not set")
            scope, credential = Scope.of(self.url), await self._credential()
            # Proxies are the environment's business here: GitHub lies outside of the VPC.
            self._session = aiohttp.ClientSession(trust_env=True)
            self._runners = Runners(Api(self._session, scope, credential), scope)
        return self._runners
