"""Serve the base image that the job loads: this container's own Python and boto3."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/base.tar"
_EXCLUDED = ("dev", "proc", "run", "sys", "tmp", "var", "root", "usr/share", "usr/include")
_PACK = (
    "tar",
    "--create",
    "--directory=/",
    "--one-file-system",
    *(f"--exclude=./{name}" for name in _EXCLUDED),
    "--exclude=*/site-packages/moto",
    ".",
)


async def _send(request: web.Request) -> web.StreamResponse:
    """Send the archive while it is made; an error cuts it off."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    process = await asyncio.create_subprocess_exec(*_PACK, stdout=asyncio.subprocess.PIPE)
    assert process.stdout  # noqa: S101
    try:
        while chunk := await process.stdout.read(1 << 20):
            await answer.write(chunk)
        if await process.wait() != 0:
            raise web.HTTPInternalServerError
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    await answer.write_eof()
    return answer


@asynccontextmanager
async def serve(host: str, port: int) -> AsyncIterator[None]:
    """Serve the archive at `PATH` for the block."""
    app = web.Application()
    app.router.add_get(PATH, _send)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
