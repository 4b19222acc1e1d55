"""Processes by their kinship and their environment, read from /proc where there is one."""

import os
import signal
import subprocess
import sys


def _parents() -> dict[int, int]:
    if os.path.isdir("/proc/self"):
        found = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    with open(f"/proc/{name}/stat", "rb") as file:
                        # The name in parentheses may hold anything, a parenthesis too.
                        found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
                except (OSError, IndexError, ValueError):
                    continue  # it has ended meanwhile
        return found
    listed = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
    )
    rows = (line.split() for line in listed.stdout.splitlines())
    return {int(pid): int(parent) for pid, parent in rows}


def descendants(pid: int) -> list[int]:
    """Give children, their children and so on; parents first."""
    parents = _parents()
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def kill(pid: int) -> None:
    """Kill a process and all that descend from it."""
    for each in [pid, *descendants(pid)]:
        strike(each)


def strike(pid: int) -> None:
    """Kill one process that may be gone already, or another user's."""
    if sys.platform == "win32":
        raise NotImplementedError
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def find_tracked(mark: str) -> dict[int, str]:
    """Give the processes with `RUNNER_TRACKING_ID=mark` in their environment, and their names."""
    found = {}
    wanted = f"RUNNER_TRACKING_ID={mark}".encode()
    for pid in _parents():
        if pid == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as names:
                        found[pid] = names.read().strip()
        except OSError:
            continue  # it has ended, or belongs to another user (as with sudo)
    return found
