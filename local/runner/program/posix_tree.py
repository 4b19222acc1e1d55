"""Processes by their kinship and their environment, read from /proc where there is one."""

import os
import signal
import subprocess
import sys

assert sys.platform != "win32"


def list_parents() -> dict[int, int]:
    """Return the parent of each process."""
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


def strike(pid: int) -> None:
    """Kill one process that may be gone already, or another user's."""
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


def find_tracked(mark: str) -> dict[int, str]:
    """Give the processes with `RUNNER_TRACKING_ID=mark` in their environment, and their names."""
    found = {}
    wanted = f"RUNNER_TRACKING_ID={mark}".encode()
    for pid in list_parents():
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
