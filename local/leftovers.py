"""Find and kill the processes that a stage started, whoever their parent is by now."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

MARK = "STAGE_FOLDER"
"""The variable by which a process is found; its value is the folder of its stage."""
LOOKS = 10
"""Looks, at most: a process may begin another one while all are listed."""


def find(folder: Path) -> dict[int, str]:
    """Return pid and command line of each process that belongs to the stage in `folder`.

    Its environment has the mark, its command line names the folder, or it works in there. Without
    /proc only the command line is looked at.
    """
    proc = Path("/proc")
    listed = _from_proc(proc, folder) if (proc / "self" / "environ").exists() else _from_ps(folder)
    listed.pop(os.getpid(), None)
    return listed


def kill(folder: Path) -> int:
    """Kill the processes of the stage in `folder`; return how many there were."""
    if sys.platform == "win32":
        raise NotImplementedError("cannot find processes: this needs POSIX")
    killed: set[int] = set()
    for _ in range(LOOKS):
        found = find(folder).keys() - killed
        if not found:
            break
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
    return len(killed)


def _from_proc(proc: Path, folder: Path) -> dict[int, str]:
    listed = {}
    for process in proc.glob("[0-9]*"):
        command = _read(process / "cmdline")
        if _belongs(process, command, folder):
            listed[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return listed


def _belongs(process: Path, command: bytes, folder: Path) -> bool:
    name = os.fsencode(folder)
    if name in command or MARK.encode() + b"=" + name in _read(process / "environ").split(b"\0"):
        return True
    try:
        return (process / "cwd").readlink().is_relative_to(folder)
    except OSError:  # it has ended, or is another user's
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _from_ps(folder: Path) -> dict[int, str]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    rows = (line.strip().partition(" ") for line in listed.stdout.splitlines())
    return {int(pid): command for pid, _, command in rows if str(folder) in command}
