"""A relay alone, as the agent serves it: `python -m bench.served UPSTREAM_URL`.

It says "ready URL" when it listens, which is when it first asks upstream; the end of its standard
input is its own.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import structlog
import uvloop

from sidecar import relay


async def main(upstream: str) -> None:
    """Serve until standard input ends."""
    async with relay.serving(relay.Endpoint(upstream), "127.0.0.1", 0) as served:
        print("ready", served.uri, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    # What is told goes to the same pipe as in a life, and costs as much.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.basicConfig(level=logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
