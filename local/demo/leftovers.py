"""Processes that are left of a life, found by a mark in their environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

MARK = "DEMO_LIFE"
"""The variable; its value is the folder of this life, so that command lines show it too."""


def processes(life: str) -> dict[int, str]:
    """Give pid and command line of each process of `life` that is still there."""
    proc = Path("/proc")
    found = _by_environment(proc, life) if (proc / "self" / "environ").exists() else _by_name(life)
    found.pop(os.getpid(), None)
    return found


def kill(life: str) -> None:
    """End what is left; nobody waits for it any more."""
    if sys.platform == "win32":
        raise NotImplementedError("__main__ refuses it before")
    for pid in processes(life):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _by_environment(proc: Path, life: str) -> dict[int, str]:
    found = {}
    mark = f"{MARK}={life}".encode()
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found[int(folder.name)] = b" ".join(words).decode(errors="replace").strip()
    return found


def _by_name(life: str) -> dict[int, str]:
    # Without /proc only those show that were started from, or with a path of, the folder.
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    rows = (line.strip().partition(" ") for line in listed.stdout.splitlines())
    return {int(pid): command for pid, _, command in rows if life in command}
