"""This GitHub behind a port."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from ssl import SSLContext

import aiohttp
from aiohttp import web

from local.github import (
    admin,
    broker,
    control,
    deliveries,
    oauth,
    repositories,
    rest,
    results,
    run_service,
    runs_rest,
    tenant,
)
from local.github.answers import WORLD, count_calls
from local.github.settings import Settings
from local.github.world import World

API = ("", "/api/v3")
"""REST stands where api.github.com has it, and where a GitHub Enterprise Server has it."""


@dataclass(frozen=True)
class GitHub:
    """A running one. `url` is the site, `api` the base of its REST as on an Enterprise Server."""

    url: str
    world: World
    control: str
    """The base of the control plane, with a path that no runner knows."""

    @property
    def api(self) -> str:
        """The base of the REST calls."""
        return f"{self.url}/api/v3"


def _application(world: World, control_path: str) -> web.Application:
    app = web.Application(client_max_size=8 << 20)
    app[WORLD] = world
    for prefix in API:
        calls = (
            *rest.routes(),
            *runs_rest.routes(),
            *repositories.routes(),
            *deliveries.routes(),
            *admin.routes(rest.SCOPES),
            *tenant.registration_routes(),
        )
        for method, path, name, handler in calls:
            app.router.add_route(method, prefix + path, count_calls(name, handler))
    for service in (tenant, oauth, broker, run_service, results):
        for method, path, name, handler in service.routes():
            app.router.add_route(method, path, count_calls(name, handler))
    for method, path, name, handler in control.routes():
        app.router.add_route(method, control_path + path, count_calls(name, handler))
    return app


@contextlib.asynccontextmanager
async def serving(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    settings: Settings | None = None,
    pats: Iterable[str] = ("ghp_local",),
    tls: SSLContext | None = None,
    control_path: str = "",
) -> AsyncIterator[GitHub]:
    """Serve until the block is left. `pats` are personal tokens that may do everything.

    With `tls` it speaks HTTPS, as somebody who trusts that context's certificate wants it.
    `control_path` is where the control plane stands; without it a path that nobody can guess.
    """
    world = World(settings=settings or Settings())
    for value in pats:
        world.add_pat(value)
    control_path = control_path or f"/_local-{secrets.token_hex(8)}"
    # A listener that is killed must not be given a job: its request dies with its connection.
    runner = web.AppRunner(
        _application(world, control_path),
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=0.5,
    )
    await runner.setup()
    # Made at once, since nothing is sent before there is a hook; each delivery its own connection.
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0),
        skip_auto_headers=("Accept-Encoding",),
    )

    async def post(
        url: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], str]:
        try:
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                text = (await answer.content.read(65536)).decode(errors="replace")
                return answer.status, dict(answer.headers), text
        except aiohttp.ClientError as error:
            raise OSError(str(error)) from error

    world.hooks.post = post
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        address = runner.addresses[0]
        url = f"{site.name.partition(':')[0]}://{address[0]}:{address[1]}"
        yield GitHub(url, world, url + control_path)
    finally:
        world.changes.close()
        await world.hooks.close()
        await session.close()
        await runner.cleanup()
