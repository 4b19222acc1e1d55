"""Serve a relay alone, as the agent does: `python -m bench.served UPSTREAM_URL`.

It prints "ready URL" when it listens; at that moment it also asks upstream for the first time. It
ends when its standard input ends.
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
    # The log goes to a pipe, as in a life, and so costs as much.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    logging.basicConfig(level=logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
