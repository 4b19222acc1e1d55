"""`python -m local.demo [--stop=busy|idle|crash]`: exits with 0 only if all of it was verified."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
from contextlib import suppress

from local.demo.endings import ENDINGS

DEADLINE = 55.0
"""Seconds for all of it; the rest of a minute is for the cleanup."""
PRIVATE = re.compile(r"(AWS|BOTO|SIDECAR)_.*|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE)
LOG_LINES = 12


def main() -> int:
    """Show one ending; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--stop", default="", help="busy, idle or crash")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds for all of it")
    asked = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if asked.stop not in ENDINGS:
        others = ", ".join(name for name in ENDINGS if name)
        return _fail(f"cannot show the ending STOP={asked.stop}: try one of {others}")
    if sys.platform == "win32":
        return _fail("cannot run on Windows: the stand-in for the runner's program needs POSIX")
    _remove_private_variables()
    return _run(asked.stop, asked.deadline)


def _remove_private_variables() -> None:
    """Keep this person's own AWS account, settings and proxies away from the stand-ins."""
    for name in [name for name in os.environ if PRIVATE.fullmatch(name)]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_MAX_ATTEMPTS"] = "1"  # no stand-in fails for a while: a retry only delays
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def _run(stop: str, deadline: float) -> int:
    try:
        return asyncio.run(_show(stop, deadline))
    except KeyboardInterrupt:
        return _fail("it was interrupted, and has cleaned up")


async def _show(stop: str, deadline: float) -> int:
    # These imports take half a second: the command line is checked before.
    from local.demo import scenario, timeline, verdict

    _clean_up_on_signals()
    console = timeline.console()
    console.print(f"\n[bold]{ENDINGS[stop].title}[/]\n")
    lines = timeline.Timeline(console)
    try:
        async with asyncio.timeout(deadline):
            checks, agent = await scenario.run(ENDINGS[stop], lines)
    except TimeoutError:
        return _fail(f"it took longer than {deadline:g} s; not yet done: {lines.doing}")
    except asyncio.CancelledError:
        return _fail("it was interrupted, and has cleaned up")
    except Exception as error:  # noqa: BLE001  a person wants one line, whatever it was
        return _fail(f"{type(error).__name__}: {error}")
    verdict.show(checks, console)
    wrong = [check for check in checks if not check.holds]
    if wrong:
        print("The end of the agent's log:", *agent.text.splitlines()[-LOG_LINES:], sep="\n")
        reason = agent.last_event("life.failed").get("reason")
        return _fail("; ".join(map(str, wrong)) + (f" ({reason})" if reason else ""))
    print(f"demo: ok, all of it verified from outside in {lines.age:.1f} s; nothing is left")
    return 0


def _clean_up_on_signals() -> None:
    """Make SIGTERM and a closed terminal do what Ctrl-C does."""
    if sys.platform == "win32":
        raise NotImplementedError("main refuses it before")
    task = asyncio.current_task()
    assert task  # noqa: S101
    for number in (signal.SIGTERM, signal.SIGHUP):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _fail(reason: str) -> int:
    """Print the reason in one last line; returns the exit code."""
    print(f"demo: failed: {' '.join(reason.split())}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
