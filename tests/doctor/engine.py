"""A docker engine that answers what the doctor asks, at a socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FAR = {"Subnet": "172.31.77.0/24", "Gateway": "172.31.77.1"}
"""A network of no machine of the tests'."""
HERE = {"Subnet": "127.0.0.0/8", "Gateway": "127.0.0.1"}


@asynccontextmanager
async def serving(socket: Path, network: dict[str, str], mode: int = 0o660) -> AsyncIterator[str]:
    """Serve an engine with one network; give the DOCKER_HOST that leads to it."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == "/version":
            return web.json_response({"Version": "28.5.1", "ApiVersion": "1.51"})
        if request.path == "/networks":
            config = {"Name": "bridge", "Driver": "bridge", "IPAM": {"Config": [network]}}
            return web.json_response([config])
        return web.json_response({"message": "page not found"}, status=404)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        socket.chmod(mode)
        yield f"unix://{socket}"
    finally:
        await runner.cleanup()
