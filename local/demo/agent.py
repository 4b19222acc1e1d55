"""Run the agent for the demo, in the environment that ECS would give it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from local.agent import COMMAND, AgentProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from local.demo.endings import Ending
    from local.stage import Stage

PATIENCE = 5.0
"""Seconds that an agent has for its end when the demo itself is interrupted."""


@asynccontextmanager
async def run(
    stage: Stage,
    ending: Ending,
    more: Mapping[str, str] | None = None,
    command: Sequence[str] = COMMAND,
) -> AsyncIterator[AgentProcess]:
    """Run the agent for the block; afterwards none of its processes is left.

    `more` are variables beside the usual ones; `command` starts it.
    """
    env = {
        **stage.environment(),
        "SIDECAR_STOP_TIMEOUT": str(ending.stop_timeout),
        "SIDECAR_RELAY_REQUIRED": "true",
        "SIDECAR_LOG_LEVEL": "debug",  # with the lines of the runner's configure
        **(more or {}),
    }
    async with AgentProcess.start(command, env, stage.folder) as agent:
        try:
            yield agent
        finally:
            await _end(agent)


def stop(agent: AgentProcess) -> None:
    """Ask the agent to stop, as ECS does."""
    with suppress(ProcessLookupError):
        agent.signal(signal.SIGTERM)


async def _end(agent: AgentProcess) -> None:
    """Let an agent that still runs clean up: its second signal cancels the job at once."""
    for _ in range(agent.signals, 2):
        if not await _ends_within(agent, 0.2):
            stop(agent)
    await _ends_within(agent, PATIENCE)


async def _ends_within(agent: AgentProcess, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await agent.process.wait()
    return agent.process.returncode is not None
