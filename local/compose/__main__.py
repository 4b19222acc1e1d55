"""`python -m local.compose`: exits with 0 only if the whole story went as it should.

With FAIL=1 in its environment the job's first step fails, and so does the story.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from local.compose import scenario
from local.demo import timeline, verdict

READY = Path("/run/ready")
"""This file is made when the task may start."""
DEADLINE = 300.0
"""Seconds for all of it."""


async def _main() -> int:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    console = timeline.console()
    lines = timeline.Timeline(console)
    try:
        async with asyncio.timeout(DEADLINE):
            fail = bool(os.environ.get("FAIL"))
            checks, log = await scenario.run(lines, READY, ended, fail=fail)
    except TimeoutError:
        print(f"compose: failed: it took longer than {DEADLINE:g} s", flush=True)
        return 1
    verdict.show(checks, console)
    wrong = [str(check) for check in checks if not check.holds]
    if wrong:
        if log:
            print("The failing step's log:", log, sep="\n")
        more = f" (and {len(wrong) - 1} more, above)" if wrong[1:] else ""
        print(f"compose: failed: {wrong[0]}{more}", flush=True)
        return 1
    print("compose: ok, all of it verified from outside; nothing is left", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
