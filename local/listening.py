"""Serve one function over HTTP for the length of a block."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def listening(answer: Handler, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Listen, and give the URL; a request ends when its client goes, and all end with the block."""
    server = web.Server(answer, handler_cancellation=True, access_log=None)
    # Not 0, which aiohttp takes for "wait for ever".
    runner = web.ServerRunner(server, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
