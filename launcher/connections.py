"""Connect to GitHub for each scope, and keep each connection.

`credentials` says with what: a token, or one of several Apps.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from launcher.credentials import AppItself, OwnersApps, Token
from launcher.settings.checks import ENTERPRISE
from sidecar import github
from sidecar.github.api import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.demand.delivery import Demand
    from launcher.pools.access import Access
    from launcher.secret import Secret

REUSED = 30 * 60.0
"""Seconds for which one registration token serves many runners; GitHub accepts it for an hour."""
ORGANIZATION = "organization"


class CachedRunners(github.Runners):
    """The calls for one scope; a registration token is made once for many runners."""

    def __init__(self, api: Api, scope: github.Scope, clock: Callable[[], float]) -> None:
        super().__init__(api, scope)
        self._clock = clock
        self._held: tuple[github.IssuedToken, float] | None = None
        self._making = asyncio.Lock()

    async def create_registration_token(self, *, tries: int | None = 6) -> github.IssuedToken:
        """Return a registration token that is young enough."""
        async with self._making:
            now = self._clock()
            if self._held is None or now - self._held[1] > REUSED:
                self._held = (await super().create_registration_token(tries=tries), now)
            return self._held[0]


class ScopeConnection(github.Connection):
    """The connection of one scope; the session is that of all of them."""

    def __init__(self, url: str, api: Api, scope: github.Scope, clock: Callable[[], float]) -> None:
        # The base class opens what it needs late; all of it is here already.
        self.url = url
        self._given = api
        self._cached = CachedRunners(api, scope, clock)

    async def __aexit__(self, *_: object) -> None:
        """Do nothing: `Connections` closes the session."""

    async def runners(self) -> github.Runners:
        """Return the calls for runners."""
        return self._cached

    async def api(self) -> Api:
        """Return the API itself, for other calls with the same credential."""
        return self._given


class Connections:
    """All connections to one GitHub, each made when it is first asked for.

    `server` is the URL of a GitHub, or of the one scope that runners are registered at. Otherwise
    `scope` says where they are registered.
    """

    def __init__(
        self,
        server: str,
        scope: str,
        *,
        token: Secret | None = None,
        apps: Sequence[tuple[str, Secret]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._scope = scope
        self._apps = apps
        self._token = Token(token) if token is not None else None
        self._clock = clock
        self._owners: dict[str, OwnersApps] = {}
        self._connections: dict[str, ScopeConnection] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Connections:
        """Do nothing yet: the session is opened when it is needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the session of all connections."""
        if self._session is not None:
            await self._session.close()

    def find_url(self, repository: str) -> str:
        """Find the URL at which a runner for a job of `repository` (owner/name) is registered."""
        if urlsplit(self._server).path.strip("/"):
            return self._server
        if self._scope.startswith(ENTERPRISE):
            return f"{self._server}/enterprises/{self._scope.removeprefix(ENTERPRISE)}"
        path = repository.partition("/")[0] if self._scope == ORGANIZATION else repository
        return f"{self._server}/{path}"

    def find_home(self, access: Access) -> str:
        """Find what names the scope of a pool's warm runners, as `owner/name`.

        Nobody asks for them, so the settings or the pool's policy have to tell. Raises ValueError.
        """
        path = urlsplit(self._server).path.strip("/")
        if path or self._scope.startswith(ENTERPRISE):
            return path if "/" in path else f"{path or '-'}/-"
        exact = {name for name in access.repositories if "*" not in name}
        if self._scope != ORGANIZATION:
            if len(exact) == len(access.repositories) == 1 and not access.owners:
                return exact.pop()
            message = "needs one repository in its access, or LAUNCHER_SCOPE=organization"
            raise ValueError(f"a pool with warm runners {message}")
        owners = {name.partition("/")[0].lower() for name in access.repositories}
        owners |= {owner.lower() for owner in access.owners}
        if len(owners) != 1:
            raise ValueError("a pool with warm runners needs one owner in its access")
        return f"{owners.pop()}/-"

    def for_demand(self, demand: Demand) -> ScopeConnection:
        """Return the connection to the scope that the runner of a job is registered at."""
        return self.connect(demand.repository, demand.installation, demand.app)

    def connect(
        self, repository: str, installation: int | None = None, app: str | None = None
    ) -> ScopeConnection:
        """Return the connection for a job of `repository`; nothing is asked yet.

        `app` and its `installation` are those of the webhook, where it told them.
        """
        owner = repository.partition("/")[0].lower()
        if self._apps:
            if owner not in self._owners:
                self._owners[owner] = OwnersApps(self._apps)
            self._owners[owner].suggest(app, installation)
        url = self.find_url(repository)
        key = f"{owner} {url.lower()}"
        if key not in self._connections:
            self._connections[key] = self._open(url, owner)
        return self._connections[key]

    def connect_to(self, url: str) -> ScopeConnection | None:
        """Return the connection to a scope by its URL; None where it is of another GitHub."""
        if not url.lower().startswith(f"{_origin(self._server)}/"):
            return None
        owner = urlsplit(url).path.strip("/").partition("/")[0].lower()
        if self._apps and owner not in self._owners:
            self._owners[owner] = OwnersApps(self._apps)
        key = f"{owner} {url.lower()}"
        if key not in self._connections:
            self._connections[key] = self._open(url, owner)
        return self._connections[key]

    def connect_as_apps(self) -> list[tuple[str, Api]]:
        """Return the id of each App, and GitHub as this App itself asks it."""
        scope = github.Scope.from_url(f"{_origin(self._server)}/app")
        session = self._get_session()
        return [(id_, Api(session, scope, AppItself(id_, key))) for id_, key in self._apps]

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()  # without trust_env: see sidecar.net.proxy
        return self._session

    def _open(self, url: str, owner: str) -> ScopeConnection:
        credential = self._token if self._token is not None else self._owners[owner]
        scope = github.Scope.from_url(url)
        return ScopeConnection(url, Api(self._get_session(), scope, credential), scope, self._clock)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


__all__ = ["Connections", "ScopeConnection"]
