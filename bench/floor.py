"""The floor: the least that a program with the agent's libraries can take.

    python floor.py PARAMETER COMMAND...

Imports what the agent imports of others, reads one parameter, starts one program, and ends with
its exit code. No settings, no log, no clean-up: whatever the agent takes beyond this is its own.
"""

import asyncio
import subprocess
import sys

import aiohttp
import httptools
import pydantic_settings
import stamina
import structlog
import uvloop
from aiobotocore.session import get_session

LIBRARIES = (aiohttp, httptools, pydantic_settings, stamina, structlog, uvloop)
"""Named, so that nobody takes the imports for left-overs."""


async def read(parameter: str) -> str:
    """Return the parameter's value; region, endpoint and credentials come the AWS way."""
    async with get_session().create_client("ssm") as ssm:
        answer = await ssm.get_parameter(Name=parameter, WithDecryption=True)
    return str(answer["Parameter"]["Value"])


async def main(parameter: str, *command: str) -> int:
    """Read, then start; the value itself is of no use here."""
    await read(parameter)
    return subprocess.run(command, check=False).returncode  # noqa: ASYNC221  nothing else runs


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main(*sys.argv[1:])))
