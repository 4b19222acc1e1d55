"""This GitHub behind a port."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from ssl import SSLContext

from aiohttp import web

from local.github import admin, broker, control, oauth, rest, results, run_service, tenant
from local.github.answers import WORLD, counted
from local.github.settings import Settings
from local.github.world import World

API = ("", "/api/v3")
"""REST stands where api.github.com has it, and where a GitHub Enterprise Server has it."""


@dataclass(frozen=True)
class GitHub:
    """A running one. `url` is the site, `api` the base of its REST as on an Enterprise Server."""

    url: str
    world: World

    @property
    def api(self) -> str:
        """The base of the REST calls."""
        return f"{self.url}/api/v3"


def _application(world: World) -> web.Application:
    app = web.Application(client_max_size=8 << 20)
    app[WORLD] = world
    for prefix in API:
        calls = (*rest.routes(), *admin.routes(rest.SCOPES), *tenant.registration_routes())
        for method, path, name, handler in calls:
            app.router.add_route(method, prefix + path, counted(name, handler))
    for service in (tenant, oauth, broker, run_service, results, control):
        for method, path, name, handler in service.routes():
            app.router.add_route(method, path, counted(name, handler))
    return app


@contextlib.asynccontextmanager
async def serving(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    settings: Settings | None = None,
    pats: Iterable[str] = ("ghp_local",),
    tls: SSLContext | None = None,
) -> AsyncIterator[GitHub]:
    """Serve until the block is left. `pats` are personal tokens that may do everything.

    With `tls` it speaks HTTPS, as somebody who trusts that context's certificate wants it.
    """
    world = World(settings=settings or Settings())
    for value in pats:
        world.add_pat(value)
    # A listener that is killed must not be given a job: its request dies with its connection.
    runner = web.AppRunner(
        _application(world), handler_cancellation=True, access_log=None, shutdown_timeout=0.5
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        address = runner.addresses[0]
        yield GitHub(f"{site.name.partition(':')[0]}://{address[0]}:{address[1]}", world)
    finally:
        world.changes.close()
        await runner.cleanup()
