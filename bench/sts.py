"""An STS that answers after LATENCY, `python -m bench.sts ARN`: it knows this one role."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from local import sts

LATENCY = 0.05
"""Seconds."""


async def main(role: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with sts.serving() as served:
        served.add(role)
        served.slowness = LATENCY
        print(f"ready {served.url}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main(sys.argv[1]))
