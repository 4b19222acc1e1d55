"""`python -m local.demo`: exits with 0 only if all of it was verified.

`--stop=busy`, `idle` or `crash` ends the agent's life in another way. `--launch=webhook` shows how
queued jobs become tasks: `--jobs` of them, with `--end=no-capacity`, `pull` or `cancel`;
`--launch=action` how a step of a workflow starts runners; `--launch=ec2` how a queued job becomes a
machine, with `--end=no-capacity` or `hang`; `--launch=api` how the signed API starts one.
`--roles` shows how each job has its own role.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.demo.endings import ENDINGS
from local.demo.launch import endings as launch_endings
from local.demo.machines import endings as machine_endings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from local.agent import AgentProcess
    from local.demo.timeline import Timeline
    from local.demo.verdict import Check

DEADLINE = 55.0
"""Seconds for all of it; the rest of a minute is for the cleanup."""
MORE_PER_JOB = 6.0
"""Seconds more for each job after the third: all share this machine, which others may use too."""
PRIVATE = re.compile(r"(AWS|BOTO|SIDECAR)_.*|(HTTP|HTTPS|ALL|NO)_PROXY", re.IGNORECASE)
LOG_LINES = 12
LAUNCHES = ("webhook", "action", "ec2", "api")
ALONE = {"action": launch_endings.ACTION, "api": machine_endings.API}
"""Launches without other endings, and their titles."""
MOST_JOBS = 50
ROLES = "Each job has its own role: of main, of another branch, of a fork"


@dataclass(frozen=True)
class Play:
    """The scenes that are shown."""

    title: str
    seconds: int
    """Seconds that it takes longer than the others."""
    run: Callable[[Timeline], Awaitable[tuple[list[Check], AgentProcess | None]]]


def main() -> int:
    """Show one ending; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--stop", default="", help="busy, idle or crash")
    parser.add_argument("--launch", default="", help=f"what starts it: {', '.join(LAUNCHES)}")
    parser.add_argument("--jobs", default="1", help="how many jobs, 1 to 50")
    parser.add_argument("--end", default="", help="no-capacity, pull, cancel or hang")
    parser.add_argument("--roles", action="store_true", help="each job has its own role")
    parser.add_argument("--deadline", type=float, help="seconds for all of it")
    asked = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        play = _find_play(asked)
    except ValueError as error:
        return _fail(str(error))
    if sys.platform == "win32":
        return _fail("cannot run on Windows: the stand-in for the runner's program needs POSIX")
    _remove_private_variables()
    more = MORE_PER_JOB * max(0, int(asked.jobs) - 3)
    return _run(play, asked.deadline or DEADLINE + more + play.seconds)


def _find_play(asked: argparse.Namespace) -> Play:
    """Find what is asked for. Raises ValueError, which says what can be had."""
    if asked.launch not in ("", *LAUNCHES):
        raise ValueError(f"cannot show LAUNCH={asked.launch}: try {', '.join(LAUNCHES)}")
    if asked.launch in ("ec2", "api") and shutil.which("curl") is None:
        raise ValueError(f"cannot show LAUNCH={asked.launch}: the machine's user data need curl")
    return _find_launch(asked) if asked.launch else _find_agent(asked)


def _find_agent(asked: argparse.Namespace) -> Play:
    if asked.roles:
        if asked.stop or asked.end or asked.jobs != "1":
            raise ValueError("cannot show STOP, END or JOBS with ROLES=1")
        return Play(ROLES, 30, _run_roles)
    if asked.stop not in ENDINGS:
        raise ValueError(_unknown("STOP", asked.stop, ENDINGS))
    if asked.end or asked.jobs != "1":
        raise ValueError("cannot show END or JOBS without LAUNCH=webhook")
    return Play(ENDINGS[asked.stop].title, 0, lambda lines: _run_agent(asked.stop, lines))


def _find_launch(asked: argparse.Namespace) -> Play:
    if asked.launch in ALONE:
        if asked.stop or asked.end or asked.jobs != "1":
            raise ValueError(f"cannot show STOP, END or JOBS with LAUNCH={asked.launch}")
        run = _run_action if asked.launch == "action" else _run_api
        return Play(ALONE[asked.launch], 0, run)
    if asked.launch == "ec2":
        return _find_machine(asked)
    if asked.end not in launch_endings.ENDINGS:
        raise ValueError(_unknown("END", asked.end, launch_endings.ENDINGS))
    if not asked.jobs.isdecimal() or not 1 <= int(asked.jobs) <= MOST_JOBS:
        raise ValueError(f"cannot show JOBS={asked.jobs}: try 1 to {MOST_JOBS}")
    title, jobs = launch_endings.ENDINGS[asked.end].title, int(asked.jobs)
    if jobs > 1:
        title = f"{jobs} queued jobs become running tasks, side by side"
    if asked.stop or (asked.end and jobs > 1):
        raise ValueError("cannot show that together: try END alone, or JOBS alone")
    return Play(title, 0, lambda lines: _run_launch(asked.end, jobs, lines))


def _find_machine(asked: argparse.Namespace) -> Play:
    if asked.stop or asked.jobs != "1":
        raise ValueError("cannot show STOP or JOBS with LAUNCH=ec2")
    if asked.end not in machine_endings.ENDINGS:
        raise ValueError(_unknown("END", asked.end, machine_endings.ENDINGS))
    ending = machine_endings.ENDINGS[asked.end]
    return Play(ending.title, ending.seconds, lambda lines: _run_machine(asked.end, lines))


def _unknown(name: str, value: str, known: Iterable[str]) -> str:
    others = ", ".join(each for each in known if each)
    return f"cannot show the ending {name}={value}: try one of {others}"


# The imports of what is shown take half a second: the command line is checked before.


async def _run_agent(stop: str, lines: Timeline) -> tuple[list[Check], AgentProcess]:
    from local.demo import scenario

    return await scenario.run(ENDINGS[stop], lines)


async def _run_roles(lines: Timeline) -> tuple[list[Check], AgentProcess | None]:
    from local.demo import roles

    return await roles.run(lines)


async def _run_action(lines: Timeline) -> tuple[list[Check], AgentProcess | None]:
    from local.demo.launch import action

    return await action.run(lines)


async def _run_launch(end: str, jobs: int, lines: Timeline) -> tuple[list[Check], AgentProcess]:
    from local.demo.launch import scenario

    return await scenario.run(end, launch_endings.ENDINGS[end], jobs, lines)


async def _run_machine(end: str, lines: Timeline) -> tuple[list[Check], AgentProcess | None]:
    from local.demo.machines import scenario

    return await scenario.run(end, machine_endings.ENDINGS[end], lines)


async def _run_api(lines: Timeline) -> tuple[list[Check], AgentProcess | None]:
    from local.demo.machines import api

    return await api.run(lines)


def _remove_private_variables() -> None:
    """Keep this person's own AWS account, settings and proxies away from the stand-ins."""
    for name in [name for name in os.environ if PRIVATE.fullmatch(name)]:
        del os.environ[name]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_MAX_ATTEMPTS"] = "1"  # no stand-in fails for a while: a retry only delays
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


def _run(play: Play, deadline: float) -> int:
    try:
        return asyncio.run(_show(play, deadline))
    except KeyboardInterrupt:
        return _fail("it was interrupted, and has cleaned up")


async def _show(play: Play, deadline: float) -> int:
    from local.demo import timeline, verdict

    _clean_up_on_signals()
    console = timeline.console()
    console.print(f"\n[bold]{play.title}[/]\n")
    lines = timeline.Timeline(console)
    try:
        async with asyncio.timeout(deadline):
            checks, agent = await play.run(lines)
    except TimeoutError:
        return _fail(f"it took longer than {deadline:g} s; not yet done: {lines.doing}")
    except asyncio.CancelledError:
        return _fail("it was interrupted, and has cleaned up")
    except Exception as error:  # noqa: BLE001  a person wants one line, whatever it was
        return _fail("; ".join(_describe(error)))
    verdict.show(checks, console)
    wrong = [check for check in checks if not check.holds]
    if wrong:
        lines_ = agent.text.splitlines() if agent else []
        print("The end of the log:", *lines_[-LOG_LINES:], sep="\n")
        reason = agent.last_event("life.failed").get("reason") if agent else ""
        return _fail("; ".join(map(str, wrong)) + (f" ({reason})" if reason else ""))
    print(f"demo: ok, all of it verified from outside in {lines.age:.1f} s; nothing is left")
    return 0


def _describe(error: BaseException) -> Iterator[str]:
    """Describe an error; of a group of errors each that is in it."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _describe(each)
    else:
        yield f"{type(error).__name__}: {error}".removesuffix(": ")


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
