"""The processes of one user on POSIX, and whether all of them can only be the agent's own."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":  # the type checker reads this for both systems
    from sidecar.host.posix_processes import _processes, _read_stat

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_FIRST_SPACE = "pid:[4026531836]"
"""The machine's own pid namespace: the kernel gives it a fixed number (proc_ns.h)."""


def list_user_processes(uid: int) -> dict[int, int]:
    """Return the living processes that have this user's id in any way, with their start times.

    The times are in clock ticks since the machine started. Raises FileNotFoundError without /proc.
    """
    found = {}
    for pid, _parent, alive in _processes():
        with suppress(OSError):
            if alive and uid in _read_ids(pid):
                found[pid] = read_start(pid)
    return found


def _read_ids(pid: int) -> list[int]:
    """Return real, effective, saved and filesystem user id of a process."""
    with open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"Uid:"):
                return [int(word) for word in line.split()[1:]]
    return []


def read_start(pid: int) -> int:
    """Return when a process started, in ticks since the machine's start. Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        return int(file.read().rpartition(b")")[2].split()[19])


def describe_process_space() -> str:
    """Return a text that tells this pid namespace from every other, also from later ones.

    The kernel gives the number of an ended namespace to the next one, so the start of its first
    process is part of the text. Raises OSError without /proc.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot} {_read_space()} {read_start(1)}"


def _read_space() -> str:
    return str(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115


def explain_shared_space() -> str | None:
    """Return why others may have processes in this pid namespace too; None if it is the agent's.

    It is, where the agent is the first process, or the first process has started it, as docker's
    init or a script does. In a namespace of several containers, an agent has no parent in it. An
    empty text: the system has another way to end all that a child has started.
    """
    try:
        if _read_space() == _FIRST_SPACE:
            return "the agent lives in the machine's own pid namespace"
        if 1 not in (os.getpid(), _read_stat(os.getpid())[2]):
            return "the pid namespace may be others' too: the agent is not its first process"
    except OSError as error:
        return f"/proc cannot be read: {error.strerror or error}"
    return None
