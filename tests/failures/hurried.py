"""Run the agent with shorter deadlines and pauses.

`python -m tests.failures.hurried` replaces `python -m sidecar run`. Only the waiting times change,
never what is done. With DISK_FAULT=`ENOSPC:TEXT` every write to a path that holds TEXT fails with
that error, as on a full or read-only disk. With SPAWN_FAULT=`EAGAIN:WORD` every start of a program
fails whose first argument is WORD. CONFIGURE_TIMEOUT has the seconds of one configure,
METADATA_PATIENCE those for a machine's metadata.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

PAUSES = 0.1
"""Factor for the pauses between two tries."""
WRITES = {"os.mkdir", "os.remove", "os.chmod", "os.chown", "os.rename"}


def shorten() -> None:
    """Make deadlines and pauses short, but long enough for a busy machine."""
    from sidecar.net import retry

    growing = retry.growing
    retry.growing = lambda kinds, *, first, longest: growing(
        kinds, first=first * PAUSES, longest=longest * PAUSES
    )
    import aiohttp

    from sidecar.aws import instance_metadata, session, task_protection
    from sidecar.docker import engine
    from sidecar.github import api
    from sidecar.runner import configure, deregistration, killed_agent

    engine.DELETE_DEADLINE = 2.0
    api.CALL = aiohttp.ClientTimeout(total=2.0)
    api.DEFAULT_LIMIT = 1.0
    patient = api.backoff

    def hurried() -> Any:
        pause = patient()
        return lambda error: (wait := pause(error)) and wait * PAUSES

    api.backoff = hurried
    deregistration.API_PATIENCE = 4.0
    killed_agent.PATIENCE = 5.0
    task_protection.CALL = aiohttp.ClientTimeout(total=4.0)
    instance_metadata.PATIENCE = float(os.environ.pop("METADATA_PATIENCE", "30"))
    configure.CONFIGURE_TIMEOUT = float(os.environ.pop("CONFIGURE_TIMEOUT", "3"))
    configure.REMOVE_TIMEOUT = 3.0
    session.CONFIG = session.CONFIG.merge(type(session.CONFIG)(read_timeout=1.5))


def fail_writes(fault: str) -> None:
    """Make every write to a path fail that holds the fault's text."""
    name, _, text = fault.partition(":")
    number = getattr(errno, name)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in WRITES:
            path = arguments[0]
        else:
            return
        # A name alone stands in a folder that is open already.
        if isinstance(path, str | os.PathLike) and text in f"/{os.fspath(path)}":
            raise OSError(number, os.strerror(number), os.fspath(path))

    sys.addaudithook(hook)


def fail_starts(fault: str) -> None:
    """Make the start of a program fail."""
    name, _, word = fault.partition(":")
    number = getattr(errno, name)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and word in arguments[1][1:2]:
            raise OSError(number, os.strerror(number))

    sys.addaudithook(hook)


def main() -> int:
    """Run the agent."""
    from sidecar.shutdown import signals

    with signals.capture() as stop_signals:
        from sidecar.cli import run

        shorten()
        if fault := os.environ.pop("DISK_FAULT", None):
            fail_writes(fault)
        if fault := os.environ.pop("SPAWN_FAULT", None):
            fail_starts(fault)
        return run.main(sys.argv[1:], os.environ, stop_signals)


if __name__ == "__main__":
    sys.exit(main())
