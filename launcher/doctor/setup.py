"""Hold what the checks look at: the settings, the clients, and the answers that several need."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from launcher.assembly import make_common, make_connections, open_source
from launcher.doctor.account import Account
from launcher.doctor.definition import Definition, read_definition
from launcher.doctor.target import Target, of_pool, of_settings
from launcher.pools.document import Problems
from sidecar.aws.calls import ECS, SSM
from sidecar.aws.endpoints import find_endpoint
from sidecar.aws.identity import Identity, read_identity
from sidecar.errors import SidecarError
from sidecar.examination.once import Once
from sidecar.examination.patience import GITHUB_TRIES
from sidecar.examination.patient_calls import call_aws
from sidecar.examination.probe import Answer, ask
from sidecar.github import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from launcher.connections import Connections
    from launcher.pools.pool import Pool, Pools
    from launcher.settings import DoctorSettings
    from sidecar.examination.patience import Patience


class Setup:
    """The launcher that is examined. Nothing of it is changed."""

    relays = True
    """The agents that it starts give jobs NO_PROXY themselves."""

    def __init__(
        self,
        settings: DoctorSettings,
        warnings: Sequence[str],
        variables: Mapping[str, str],
        patience: Patience,
        account: Account,
        connections: Connections,
        http: aiohttp.ClientSession,
    ) -> None:
        self.settings = settings
        self.warnings = warnings
        self.variables = variables
        self.patience = patience
        self.account = account
        self.connections = connections
        self._http = http
        self._definitions: dict[str, Once[Definition | None]] = {}
        self.identity = Once(self._read_identity)
        """Whom AWS takes this process for. Raises AwsError."""
        self.pools = Once(self._read_pools)
        """The pools, or what is wrong with them; None where none are named. Raises SidecarError."""
        self.apps = Once(self._read_apps)
        """Each App by its id, as GitHub describes it, or why it does not."""

    @property
    def signs_for_github(self) -> bool:
        """Whether it is a GitHub App, whose signatures hold the time."""
        return bool(self.settings.apps)

    @property
    def server(self) -> str:
        """The URL of the GitHub, without a path."""
        parts = urlsplit(self.settings.github_url)
        return f"{parts.scheme}://{parts.netloc}"

    async def ask(self, url: str) -> Answer:
        """Ask a server for anything, as the launcher would reach it. Raises NoAnswer."""
        return await ask(self._http, url, self.patience.request)

    async def list_urls(self) -> list[str]:
        """List what a launch connects to: GitHub first, then the services of AWS."""
        found = [Scope.from_url(f"{self.server}/x").api, self.server]
        for service in (ECS, SSM):
            try:
                found.append(
                    await find_endpoint(service, self.account.region, self.account.session)
                )
            except SidecarError:  # the line identity tells it
                continue
        return found

    async def list_pools(self) -> list[Pool]:
        """List the pools that can be read; the line pools tells of others."""
        try:
            found = await self.pools()
        except SidecarError:
            return []
        return [] if found is None or isinstance(found, Problems) else list(found)

    async def list_targets(self) -> list[Target]:
        """List all kinds of tasks that are started."""
        own = of_settings(self.settings)
        pools = [of_pool(pool) for pool in await self.list_pools() if pool.machine is None]
        return [*([own] if own is not None else []), *pools]

    async def list_repositories(self) -> list[str]:
        """List the repositories that are known to be served, as owner/name."""
        path = urlsplit(self.settings.github_url).path.strip("/")
        found = [path] if path.count("/") == 1 and not path.startswith("enterprises/") else []
        found += self.settings.repositories
        for target in await self.list_targets():
            found += sorted(target.repositories)
        return list(dict.fromkeys(found))

    async def definition(self, name: str) -> Definition | None:
        """Read a task definition, once for all checks; None for none. Raises AwsError."""
        if name not in self._definitions:
            self._definitions[name] = Once(partial(read_definition, self.account, name))
        return await self._definitions[name]()

    async def find_definition(self, target: Target) -> Definition | None:
        """Read a target's definition; None where there is none or it cannot be read.

        The line definition tells that.
        """
        try:
            return await self.definition(target.task_definition)
        except SidecarError:
            return None

    async def _read_identity(self) -> Identity:
        region, session = self.account.region, self.account.session
        return await call_aws(
            lambda seconds: read_identity(region, session, seconds), self.patience.aws
        )

    async def _read_apps(self) -> list[tuple[str, dict[str, Any] | SidecarError]]:
        found: list[tuple[str, dict[str, Any] | SidecarError]] = []
        for id_, api in self.connections.connect_as_apps():
            try:
                answer = await api.call("GET", "/app", expects={200: None}, tries=GITHUB_TRIES)
            except SidecarError as error:
                found.append((id_, error))
            else:
                found.append((id_, answer.body if isinstance(answer.body, dict) else {}))
        return found

    async def _read_pools(self) -> Pools | Problems | None:
        if self.settings.pools is None:
            return None
        async with AsyncExitStack() as stack:
            common = make_common(self.settings)
            region = self.account.region
            return await (await open_source(self.settings.pools, common, region, stack)).read()


@asynccontextmanager
async def open_setup(
    settings: DoctorSettings,
    warnings: Sequence[str],
    variables: Mapping[str, str],
    patience: Patience,
) -> AsyncIterator[Setup]:
    """Open what the checks ask with. Nothing is asked yet."""
    region = variables.get("AWS_REGION") or None
    async with (
        Account(region, patience) as account,
        make_connections(settings, region) as connections,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        yield Setup(settings, warnings, variables, patience, account, connections, http)
