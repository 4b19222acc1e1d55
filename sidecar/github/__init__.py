"""GitHub's REST API for self-hosted runners.

Documented at docs.github.com/rest/actions/self-hosted-runners and in GitHub's OpenAPI description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from sidecar.github.api import Api
from sidecar.github.app_key import read_app_key
from sidecar.github.credentials import App, Credential, Pat, check_pat
from sidecar.github.errors import (
    AddressRefused,
    ClockRefused,
    CredentialRefused,
    GitHubError,
    NameTaken,
    PermissionDenied,
    RateLimited,
    RunnerBusy,
    TransientError,
)
from sidecar.github.groups import find_group, read_group_number
from sidecar.github.refusals import advise
from sidecar.github.runners import IssuedToken, JitConfig, Runner, Runners
from sidecar.github.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = [
    "AddressRefused",
    "App",
    "ClockRefused",
    "Connection",
    "Credential",
    "CredentialRefused",
    "GitHubError",
    "IssuedToken",
    "JitConfig",
    "NameTaken",
    "Pat",
    "PermissionDenied",
    "RateLimited",
    "Runner",
    "RunnerBusy",
    "Runners",
    "Scope",
    "TransientError",
    "advise",
    "check_pat",
    "find_group",
    "is_app_key",
    "read_group_number",
]


def is_app_key(text: str) -> bool:
    """Say whether a text is the private key of an App, in one of the forms that are read."""
    return read_app_key(text) is not None


class Connection:
    """A connection to GitHub's API, opened on its first use and closed on leaving.

    The URL may come with the registration token, and the credential may have to be fetched: so
    both are set late.
    """

    def __init__(self, credential: Callable[[], Awaitable[Credential]]) -> None:
        self.url: str | None = None
        """Of the repository, organization or enterprise."""
        self._credential = credential
        self._session: aiohttp.ClientSession | None = None
        self._api: Api | None = None
        self._runners: Runners | None = None

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def runners(self) -> Runners:
        """Return the calls. Raises SidecarError if the credential cannot be read."""
        if self._runners is None:
            self._runners = Runners(await self.api(), self._scope())
        return self._runners

    async def api(self) -> Api:
        """Return the API itself, for other calls with the same credential. Raises SidecarError."""
        if self._api is None:
            scope, credential = self._scope(), await self._credential()
            if self._session is None:  # without trust_env: see sidecar.net.proxy
                self._session = aiohttp.ClientSession()
            self._api = Api(self._session, scope, credential)
        return self._api

    def _scope(self) -> Scope:
        if self.url is None:
            raise GitHubError("cannot ask GitHub: SIDECAR_GITHUB_URL is not set")
        return Scope.from_url(self.url)
