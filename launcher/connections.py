"""Connect to GitHub for each scope: with a token, or as an App; there may be several Apps.

An App's installation is known from the webhook, or found for the repository. One that is gone (the
App was installed anew) is found again; a suspended one is named by the error, and the message of
the job stays in the queue until somebody changes that. Of several Apps the one that sent the
webhook is taken first, and another one where that cannot do it: so one App can replace another.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from launcher.settings.checks import ENTERPRISE
from sidecar import github
from sidecar.github.api import Api
from sidecar.github.errors import PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launcher.demand.delivery import Demand
    from launcher.pools.access import Access
    from launcher.secret import Secret
    from sidecar.github.credentials import Call

REUSED = 30 * 60.0
"""Seconds for which one registration token serves many runners; GitHub accepts it for an hour."""
ORGANIZATION = "organization"


class Token:
    """A personal access token that is read again when GitHub refuses it."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def token(self, call: Call, scope: github.Scope) -> str:
        """Return the token."""
        del call, scope
        return await self._secret.get()

    def forget(self) -> bool:
        """Have it read again; False where that was done just now."""
        return self._secret.expire()


class Installation:
    """One installation of a GitHub App: that of one owner. Its token serves all of its scopes."""

    def __init__(self, app_id: str, key: Secret) -> None:
        self._app_id = app_id
        self._key = key
        self._pem: str | None = None
        self._app: github.App | None = None
        self._number: int | None = None
        self._asking = asyncio.Lock()

    def suggest(self, number: int | None) -> None:
        """Take the installation's number from a webhook; GitHub is asked if it is wrong."""
        if number is None or number == self._number:
            return
        self._number = number
        if self._app is not None:
            self._app.suggest_installation(number)

    async def token(self, call: Call, scope: github.Scope) -> str:
        """Return a token of the installation; many callers at once get one token."""
        async with self._asking:
            app = await self._get_app()
            try:
                return await app.token(call, scope)
            except PermissionDenied:
                self._key.expire()  # GitHub may know a newer key of the App only
                raise

    async def _get_app(self) -> github.App:
        pem = (await self._key.get()).replace("\\n", "\n")
        if self._app is None or pem != self._pem:
            self._app, self._pem = github.App(self._app_id, pem), pem
            self._app.suggest_installation(self._number)
        return self._app

    def forget(self) -> bool:
        """Get a new token the next time."""
        return self._app is not None and self._app.forget()


class OwnersApps:
    """The Apps that may be installed for one owner; the one that worked last is asked first."""

    def __init__(self, apps: Sequence[tuple[str, Secret]]) -> None:
        self._installations = {app_id: Installation(app_id, key) for app_id, key in apps}
        self._order = list(self._installations)

    def suggest(self, app_id: str | None, number: int | None) -> None:
        """Take App and installation from a webhook; an App that is not one of these is ignored."""
        if app_id is None and len(self._order) == 1:
            app_id = self._order[0]
        if app_id in self._installations:
            self._prefer(app_id)
            self._installations[app_id].suggest(number)

    def _prefer(self, app_id: str) -> None:
        self._order.remove(app_id)
        self._order.insert(0, app_id)

    async def token(self, call: Call, scope: github.Scope) -> str:
        """Return a token of the first App that gets one. Raises what the first one met."""
        refused: list[PermissionDenied] = []
        for app_id in tuple(self._order):
            try:
                token = await self._installations[app_id].token(call, scope)
            except PermissionDenied as error:
                refused.append(error)
            else:
                self._prefer(app_id)
                return token
        raise refused[0]

    def forget(self) -> bool:
        """Get a new token the next time."""
        return self._installations[self._order[0]].forget()


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

    def _open(self, url: str, owner: str) -> ScopeConnection:
        if self._session is None:
            self._session = aiohttp.ClientSession()  # without trust_env: see sidecar.net.proxy
        credential = self._token if self._token is not None else self._owners[owner]
        scope = github.Scope.from_url(url)
        return ScopeConnection(url, Api(self._session, scope, credential), scope, self._clock)


__all__ = ["Connections", "ScopeConnection"]
