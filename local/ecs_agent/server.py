"""Serve one task's agent."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from local.ecs_agent.agent import Agent
from local.ecs_agent.task import Task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@asynccontextmanager
async def serving(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    task: Task | None = None,
    aws_endpoint: str | None = None,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Agent]:
    """Serve one task's agent; `now` is the wall clock, `clock` is that of the rate limit."""
    agent = Agent(task or Task(), aws_endpoint, now, clock)
    await agent.rotate()
    server = web.Server(agent.answer, handler_cancellation=True, access_log=None)
    # Not 0, which aiohttp takes for "wait for ever".
    runner = web.ServerRunner(server, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        agent.url = f"http://{host}:{runner.addresses[0][1]}"
        yield agent
    finally:
        await runner.cleanup()
