"""The agent in a hurry: the same program, with its own deadlines and pauses made short.

`python -m tests.failures.hurried` is run instead of `python -m sidecar run`. Only how long is
waited changes, never what is done. DISK_FAULT, as `ENOSPC:TEXT`, lets every write to a path that
holds TEXT fail with that error, the way a full or read-only disk does; SPAWN_FAULT, as
`EAGAIN:WORD`, every start of a program whose first argument is WORD.
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
    """Make deadlines and pauses short. Long enough for a busy machine, too short for a hang."""
    from sidecar.net import retry

    growing = retry.growing
    retry.growing = lambda kinds, *, first, longest: growing(
        kinds, first=first * PAUSES, longest=longest * PAUSES
    )
    import aiohttp

    from sidecar.github import api
    from sidecar.lifecycle import protection
    from sidecar.runner import configure, deregistration, killed_agent
    from sidecar.tokens import ssm

    api.CALL = aiohttp.ClientTimeout(total=2.0)
    api.UNTOLD_LIMIT = 1.0
    patient = api.patient

    def hurried() -> Any:
        pause = patient()
        return lambda error: (wait := pause(error)) and wait * PAUSES

    api.patient = hurried
    deregistration.API_PATIENCE = 4.0
    killed_agent.PATIENCE = 5.0
    protection.CALL = aiohttp.ClientTimeout(total=4.0)
    configure.CONFIGURE_TIMEOUT = 3.0
    configure.REMOVE_TIMEOUT = 3.0
    ssm.CALLS = ssm.CALLS.merge(type(ssm.CALLS)(read_timeout=1.5))


def spoil(fault: str) -> None:
    """Refuse every write to paths that hold the fault's text."""
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
        if isinstance(path, str | os.PathLike) and text in os.fspath(path):
            raise OSError(number, os.strerror(number), os.fspath(path))

    sys.addaudithook(hook)


def refuse(fault: str) -> None:
    """Refuse to start a program."""
    name, _, word = fault.partition(":")
    number = getattr(errno, name)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and word in arguments[1][1:2]:
            raise OSError(number, os.strerror(number))

    sys.addaudithook(hook)


def main() -> int:
    """Run the agent."""
    from sidecar.shutdown import signals

    with signals.captured() as heard:
        from sidecar.cli.run import run

        shorten()
        if fault := os.environ.pop("DISK_FAULT", None):
            spoil(fault)
        if fault := os.environ.pop("SPAWN_FAULT", None):
            refuse(fault)
        return run(sys.argv[1:], os.environ, heard)


if __name__ == "__main__":
    sys.exit(main())
