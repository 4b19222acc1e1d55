"""The floor: the least time and memory that a program with the agent's libraries can take.

    python floor.py PARAMETER COMMAND...

It imports the libraries that the agent imports, reads one parameter, starts one program, and ends
with its exit code. It has no settings, no log and no cleanup: what the agent takes beyond this is
its own.
"""

import asyncio
import subprocess
import sys

import aiohttp
import httptools
import pydantic_settings
import stamina
import structlog
from aiobotocore.session import get_session

if sys.platform != "win32":
    import uvloop

LIBRARIES = (aiohttp, httptools, pydantic_settings, stamina, structlog)
"""Named, so that nobody takes the imports for unused ones."""


async def read(parameter: str) -> str:
    """Return the parameter's value; boto finds region, endpoint and credentials itself."""
    async with get_session().create_client("ssm") as ssm:
        answer = await ssm.get_parameter(Name=parameter, WithDecryption=True)
    return str(answer["Parameter"]["Value"])


async def main(parameter: str, *command: str) -> int:
    """Read the parameter, then start the command; the value is not used."""
    await read(parameter)
    return subprocess.run(command, check=False).returncode  # noqa: ASYNC221  nothing else runs


if __name__ == "__main__":
    make_loop = asyncio.new_event_loop if sys.platform == "win32" else uvloop.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        sys.exit(runner.run(main(*sys.argv[1:])))
