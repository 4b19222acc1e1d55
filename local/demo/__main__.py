"""`python -m local.demo [--stop=busy|idle|crash]`: exits 0 only if all it showed was verified."""

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
"""Seconds for all of it; what is left of a minute is for cleaning up."""
PRIVATE = re.compile(r"(AWS|BOTO|SIDECAR)_.*|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE)
LOG_LINES = 12


def main() -> int:
    """Show one ending; the value is the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--stop", default="", help="busy, idle or crash")
    parser.add_argument("--deadline", type=float, default=DEADLINE, help="seconds for all of it")
    asked = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if asked.stop not in ENDINGS:
        others = ", ".join(name for name in ENDINGS if name)
        return _failed(f"STOP={asked.stop} is no ending that it can show (try one of {others})")
    if sys.platform == "win32":
        return _failed("it needs Linux or macOS: the stand-in for the runner's program does")
    _forget_the_person()
    return _shown(asked.stop, asked.deadline)


def _forget_the_person() -> None:
    """Let no account, setting or proxy of the person's own reach the stand-ins' clients."""
    for name in [name for name in os.environ if PRIVATE.fullmatch(name)]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_MAX_ATTEMPTS"] = (
        "1"  # nothing here fails and passes; an end is not kept waiting
    )
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def _shown(stop: str, deadline: float) -> int:
    try:
        return asyncio.run(_show(stop, deadline))
    except KeyboardInterrupt:
        return _failed("it was interrupted, and has cleaned up")


async def _show(stop: str, deadline: float) -> int:
    # Half a second of imports, on purpose behind the check of the command line.
    from local.demo import play, timeline, verdict

    _end_in_good_order()
    console = timeline.console()
    console.print(f"\n[bold]{ENDINGS[stop].title}[/]\n")
    drawn = timeline.Timeline(console)
    try:
        async with asyncio.timeout(deadline):
            checks, agent = await play.played(ENDINGS[stop], drawn)
    except TimeoutError:
        return _failed(f"it took longer than {deadline:g} s; under way was: {drawn.doing}")
    except asyncio.CancelledError:
        return _failed("it was interrupted, and has cleaned up")
    except Exception as error:  # noqa: BLE001  a person wants one line, whatever it was
        return _failed(f"{type(error).__name__}: {error}")
    verdict.show(checks, console)
    wrong = [check for check in checks if not check.holds]
    if wrong:
        print("The agent's last words:", *agent.lines[-LOG_LINES:], sep="\n")
        why = f" ({agent.why})" if agent.why else ""
        return _failed("; ".join(map(str, wrong)) + why)
    print(f"demo: ok, all of it verified from outside in {drawn.age:.1f} s; nothing is left")
    return 0


def _end_in_good_order() -> None:
    """Let SIGTERM and a closed terminal do what Ctrl-C does."""
    if sys.platform == "win32":
        raise NotImplementedError("main refuses it before")
    task = asyncio.current_task()
    assert task  # noqa: S101
    for number in (signal.SIGTERM, signal.SIGHUP):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _failed(why: str) -> int:
    """Say why, in one last line."""
    print(f"demo: failed: {' '.join(why.split())}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
