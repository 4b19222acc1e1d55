"""Run a test on both event loops, asyncio's and uvloop's; on Windows there is only the first."""

import asyncio
import sys

import pytest

LOOPS = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop

on_both = pytest.mark.parametrize("loop", LOOPS)


def run(loop, coroutine, timeout=120):
    """Run `coroutine` on a new loop, for `timeout` seconds at most, and close the loop."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(coroutine, timeout))
