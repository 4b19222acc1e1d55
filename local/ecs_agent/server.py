"""Serve one task's agent."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from local.ecs_agent.agent import Agent
from local.ecs_agent.task import Task
from local.listening import listening

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
    async with listening(agent.answer, host, port) as agent.url:
        yield agent
