"""The agent's children on Windows.

Windows has no signals and no orphans: a child's processes are found by their parent's id.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

LISTENER = Path("bin/Runner.Listener.exe")
"""The runner's program, in its folder."""
WORKER = "Runner.Worker.exe"
"""The name of the program that runs a job, a child of the listener."""
DEFAULT_RUNNER_DIR = r"C:\actions-runner"


def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: User | None
) -> subprocess.Popen[bytes]:
    """Start a child in its own process group, so that it can be interrupted alone."""
    del user
    return subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
    )


def spawn_attached(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: User | None
) -> subprocess.Popen[bytes]:
    """Start a child with this process's own input and output, in its own process group."""
    del user
    return subprocess.Popen(
        argv, env=dict(env), cwd=cwd, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP
    )


async def read_pipe(pipe: Any, feed: Callable[[bytes], None]) -> None:
    """Call `feed` with every chunk that arrives on `pipe`, until its end.

    A thread reads: the pipes of subprocess do not support overlapped reads.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def read() -> None:
        with suppress(OSError, ValueError, RuntimeError):
            while chunk := pipe.read1(65536):
                loop.call_soon_threadsafe(feed, chunk)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.cancel)

    threading.Thread(target=read, daemon=True).start()
    await asyncio.wait([ended])


def interrupt(pid: int) -> None:
    """Send Ctrl-Break to the process group of `pid`: Ctrl-C reaches no other group."""
    with suppress(OSError):
        os.kill(pid, signal.CTRL_BREAK_EVENT)


def terminate_children(parent: int, program: str) -> int:
    """Send nothing: Windows has no signal that a program could heed; Ctrl-Break is for groups."""
    del parent, program
    return 0


def forward_signal(pid: int, name: str) -> None:
    """Send a stop to the process group of `pid`; Windows has one kind of it."""
    del name
    interrupt(pid)


def list_children() -> list[int]:
    """Return none: only the tree below a known child is ever killed here."""
    return []


def list_dead_children() -> list[int]:
    """Return none: dead processes need no collecting here."""
    return []


def has_descendant(root: int, program: str) -> bool:
    """Return False: only the job hook reports a job here."""
    del root, program
    return False


def find_descendants(root: int, program: str) -> list[int]:
    """Return none: the tree is not looked at here."""
    del root, program
    return []


def kill_leftovers(root: int | None, spare: Iterable[int]) -> int:
    """Kill the tree below `root`; return 1 if there was one."""
    del spare
    if root is None:
        return 0
    killed = subprocess.run(
        ["taskkill", "/T", "/F", "/PID", str(root)], capture_output=True, check=False, timeout=10
    )
    return int(killed.returncode == 0)


def reap_orphans(waited_for: Callable[[int], bool]) -> int:
    """Do nothing: dead processes need no collecting here."""
    del waited_for
    return 0
