"""The agent's children on Windows: start, interrupt, find and kill them.

Each child is in a job object of its own, and so is all that it starts. So nothing of it is lost
when its parent ends, and nothing survives when the agent ends, in whatever way.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.host.win32 import console, jobs, snapshot

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

_SUSPENDED = 0x4
_KILLED, _SIGKILL = 0xE000_0009, 9
"""The exit code of a killed child: "error" and "not of Microsoft's", then POSIX's number."""


class _Child:
    """A child's job object, and which of its processes were killed already."""

    def __init__(self) -> None:
        self.job = jobs.Job()
        self.killed: set[int] = set()

    def kill(self) -> int:
        """Kill every process in it; return how many were not killed before."""
        members = set(self.job.list_members())
        if members:
            self.job.terminate(_KILLED)
        new = members - self.killed
        self.killed |= members
        return len(new)


_children: dict[int, _Child] = {}
"""Every child, by its pid, until nothing of it runs."""


# ---- start, read, wait, interrupt --------------------------------------------------------------


def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: User | None
) -> subprocess.Popen[bytes]:
    """Start a child in its own process group, with pipes for its output and no input.

    So it can be interrupted alone, and a console's Ctrl-C reaches only the agent.
    """
    del user
    return _start(argv, env, cwd, given=subprocess.DEVNULL, printed=subprocess.PIPE)


def spawn_attached(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: User | None
) -> subprocess.Popen[bytes]:
    """Start a child with this process's own input and output, in its own process group."""
    del user
    return _start(argv, env, cwd)


def _start(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    *,
    given: int | None = None,
    printed: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child suspended, so that it is in its job object before it can start another."""
    child = _Child()
    try:
        popen = subprocess.Popen(
            argv,
            env=_merge_names(env),
            cwd=cwd,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP | _SUSPENDED,
            stdin=given,
            stdout=printed,
            stderr=printed,
        )
    except OSError:
        child.job.close()
        raise
    try:
        child.job.add_and_resume(popen.pid)
    except OSError:
        with popen:  # closes its pipes, and waits
            popen.kill()
        child.job.close()
        raise
    if (earlier := _children.pop(popen.pid, None)) is not None:
        earlier.job.close()  # its pid was free again, so that child had ended
    _children[popen.pid] = child
    return popen


def _merge_names(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables, each name once: `NO_PROXY` and `no_proxy` are one name here."""
    names: dict[str, str] = {}
    for name in env:
        names.setdefault(name.upper(), name)
    return {names[name.upper()]: value for name, value in env.items()}


async def read_pipe(pipe: Any, feed: Callable[[bytes], None]) -> None:
    """Call `feed` with every chunk that arrives on `pipe`, until its end.

    A thread reads: the pipes of subprocess do not support overlapped reads. It closes the pipe too,
    since nobody else can while it waits for output.
    """
    import asyncio  # late: console events are handled before its imports

    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def read() -> None:
        with suppress(OSError, ValueError, RuntimeError), pipe:
            while chunk := pipe.read1(65536):
                loop.call_soon_threadsafe(feed, chunk)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.cancel)

    threading.Thread(target=read, daemon=True).start()
    await asyncio.wait([ended])


def wait_for_exit(popen: subprocess.Popen[bytes]) -> int:
    """Wait for a child's end; return its exit code, -9 if it was killed by `kill_leftovers`.

    Exit codes have no sign here: a crash is 0xC0000005, for example.
    """
    code = popen.wait()
    return -_SIGKILL if code == _KILLED else code


def interrupt(pid: int) -> str | None:
    """Send Ctrl-Break to the process group of a child; return why that is not possible, or None.

    Ctrl-C cannot be sent to one group. For a process that leads no group, as the child of a child,
    Windows may send it to every process of the console, this one too.
    """
    if pid not in _children:
        return f"Ctrl-Break cannot be sent to {pid}: it leads no process group"
    return console.send_break(pid)


def terminate_children(parent: int, program: str) -> int:
    """Send nothing: Windows has no signal that a program could heed; Ctrl-Break is for groups."""
    del parent, program
    return 0


def forward_signal(pid: int, name: str) -> str | None:
    """Send a stop to the process group of `pid`; Windows has one kind of it.

    Returns why that is not possible, or None.
    """
    del name
    return interrupt(pid)


# ---- find --------------------------------------------------------------------------------------


def list_children() -> list[int]:
    """Return the children that run, and what runs on of those that have ended."""
    found: list[int] = []
    for pid, child in _children.items():
        members = child.job.list_members()
        found.extend([pid] if pid in members else members)
    return found


def list_dead_children() -> list[int]:
    """Return the killed processes that are still ending."""
    return [
        pid
        for child in _children.values()
        for pid in child.job.list_members()
        if pid in child.killed
    ]


def has_descendant(root: int, program: str) -> bool:
    """Whether a process named `program` is `root` or runs somewhere below it."""
    return bool(find_descendants(root, program))


def find_descendants(root: int, program: str) -> list[int]:
    """Return the processes named `program` that are `root` or run somewhere below it.

    Below a child also those whose parent has ended. Returns none if the processes cannot be listed.
    """
    try:
        processes = snapshot.list_processes()
        below = set(_children[root].job.list_members()) if root in _children else set()
    except OSError:
        return []
    tree: dict[int, list[int]] = {}
    for process in processes:
        tree.setdefault(process.parent, []).append(process.pid)
    pending = [root]
    while pending:
        pid = pending.pop()
        below.add(pid)
        pending.extend(child for child in tree.get(pid, ()) if child not in below)
    wanted = program.casefold()
    return [one.pid for one in processes if one.pid in below and one.name.casefold() == wanted]


# ---- kill and collect --------------------------------------------------------------------------


def kill_leftovers(root: int | None, spare: Iterable[int]) -> int:
    """Kill the tree below `root` and all that ended children left; return how many were hit.

    `spare` are children of ours that go on, with what they started.
    """
    spared = set(spare) - {root}
    hit = 0
    for pid, child in list(_children.items()):
        if pid in spared:
            continue
        try:
            hit += child.kill()
            if not child.job.list_members():
                del _children[pid]
                child.job.close()
        except OSError:
            continue
    return hit


MOST_REAPED = 1
"""More than any call of `reap_orphans` collects."""


def reap_orphans(waited_for: Callable[[int], bool]) -> int:
    """Do nothing: dead processes need no collecting here."""
    del waited_for
    return 0
