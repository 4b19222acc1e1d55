"""Read what a machine writes on its console, as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.agent import AgentProcess
    from local.ec2.machines import Machine


async def follow_lines(process: AgentProcess) -> AsyncIterator[str]:
    """Give each line that a process prints, until its output ends."""
    given = 0
    while await _has_more(process, given):
        text = process.text[given:]
        given += len(text)
        for line in text.splitlines():
            yield line


async def _has_more(process: AgentProcess, given: int) -> bool:
    async with process._changed:
        await process._changed.wait_for(lambda: process.closed or len(process.text) > given)
    return len(process.text) > given


async def keep_console(machine: Machine, process: AgentProcess) -> None:
    """Put each line on the machine's console, where GetConsoleOutput finds it."""
    async for line in follow_lines(process):
        machine.say(line)
