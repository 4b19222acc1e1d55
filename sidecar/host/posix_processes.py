"""The agent's children on POSIX: start, interrupt, find, kill and collect them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.host.posix import open_files

if sys.platform != "win32":  # the type checker reads this for both systems
    from sidecar.host.posix_memory import usual_memory_score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    if sys.platform != "win32":  # the type checker reads this for both systems
        from sidecar.host.posix_users import User

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

LISTENER = Path("bin/Runner.Listener")
"""The runner's program, in its folder."""
WORKER = "Runner.Worker"
"""The name of the program that runs a job, a child of the listener."""
_CHUNK = 1 << 16
"""Bytes that are read at once: as many as a pipe holds."""
DEFAULT_RUNNER_DIR = "/home/runner"
MOST_REAPED = 200
"""Dead children that are collected in one turn of the event loop: about 5 ms."""


# ---- start, read, signal -----------------------------------------------------------------------


def spawn(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: User | None
) -> subprocess.Popen[bytes]:
    """Start a child in its own session, with pipes for its output and no input.

    A terminal's Ctrl-C then reaches only the agent, which decides what to send to the child.
    """
    with usual_memory_score():
        return open_files.start_program(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **_as(user),
        )


def spawn_attached(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, user: User | None
) -> subprocess.Popen[bytes]:
    """Start a child with this process's own input and output, in its own process group.

    That group gets the terminal, if there is one: Ctrl-C then goes to the child alone.
    """
    with usual_memory_score():
        popen = open_files.start_program(argv, env=dict(env), cwd=cwd, process_group=0, **_as(user))
    if os.isatty(0):
        with suppress(OSError):
            os.tcsetpgrp(0, popen.pid)
            os.killpg(popen.pid, signal.SIGCONT)  # it may have stopped to wait for the terminal
    return popen


def _as(user: User | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user.uid, "group": user.gid, "extra_groups": user.groups}


async def read_pipe(pipe: Any, feed: Callable[[bytes], None]) -> None:
    """Call `feed` with every chunk that arrives on `pipe`, until its end; then close it.

    Not by a transport of the loop: uvloop's closes the file twice. Between the two, a thread may
    have opened another one of the same number, and would lose it.
    """
    import asyncio  # late: signals are handled before its 50 ms of imports

    loop, descriptor = asyncio.get_running_loop(), pipe.fileno()
    ended = loop.create_future()

    def read() -> None:
        try:
            chunk = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            feed(chunk)
        elif not ended.done():
            loop.remove_reader(descriptor)
            ended.set_result(None)

    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, read)
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        pipe.close()


def wait_for_exit(popen: subprocess.Popen[bytes]) -> int:
    """Wait for a child's end; return its exit code, a negative one for the signal that ended it."""
    return popen.wait()


def interrupt(pid: int) -> str | None:
    """Send SIGINT to one process, not to its children.

    Returns why that is not possible, or None; here it always is.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGINT)
    return None


def terminate_children(parent: int, program: str) -> int:
    """Send SIGTERM to each child of `parent` whose program has this name; return how many.

    The name is the one in /proc/PID/stat, of at most 15 characters: root without SYS_PTRACE may
    not read another user's /proc/PID/exe. A child is looked at again once there is a pidfd for it:
    no other process can be hit, even if it got the number of a child that has just ended. Systems
    without pidfds (before Linux 5.3) send nothing.
    """
    try:
        children = [pid for pid, above, alive in _processes() if above == parent and alive]
    except OSError:
        return 0
    return sum(_terminate(pid, parent, program) for pid in children)


def _terminate(pid: int, parent: int, program: str) -> bool:
    try:
        if _read_stat(pid)[0] != program:  # a pidfd only for those that are meant
            return False
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        name, _state, above = _read_stat(pid)
        if (name, above) != (program, parent):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def forward_signal(pid: int, name: str) -> str | None:
    """Send the stop signal `name` to the process group that `pid` leads.

    To the whole group: a shell alone would end at once, and its own child would get no signal.
    Returns why that is not possible, or None; here it always is.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.Signals[name])
    return None


# ---- find --------------------------------------------------------------------------------------


def _processes() -> Iterator[tuple[int, int, bool]]:
    """Yield pid, parent and "alive" of every process. Raises OSError if /proc cannot be read.

    A process that has ended stays, dead, until its parent collects it.
    """
    for entry in open_files.retry_with_reserve(lambda: os.listdir("/proc")):  # noqa: PTH208
        if entry.isdigit():
            with suppress(OSError):
                _name, state, parent = _read_stat(entry)
                yield int(entry), parent, state not in "ZX"


def _read_stat(pid: int | str) -> tuple[str, str, int]:
    """Return name, state and parent of a process. Raises OSError if it is gone."""
    whole = open_files.retry_with_reserve(Path(f"/proc/{pid}/stat").read_bytes)
    head, _, rest = whole.rpartition(b")")  # the name may hold brackets and spaces
    state, parent = rest.split()[:2]
    return head.partition(b"(")[2].decode("utf-8", "replace"), state.decode(), int(parent)


def _living_tree() -> dict[int, list[int]] | None:
    """Return parent → children of every living process; None where /proc cannot be read."""
    tree: dict[int, list[int]] = {}
    try:
        for pid, parent, alive in _processes():
            if alive:
                tree.setdefault(parent, []).append(pid)
    except OSError:  # none here, or more files are open than the system allows
        return None
    return tree


def _below(tree: dict[int, list[int]], roots: Iterable[int]) -> list[int]:
    found = list(roots)
    for pid in found:  # grows during the loop: breadth first
        found.extend(tree.get(pid, ()))
    return found


def list_children() -> list[int]:
    """Return the living children of this process."""
    return (_living_tree() or {}).get(os.getpid(), [])


def list_dead_children() -> list[int]:
    """Return the children of this process that have ended, but are not collected yet."""
    own = os.getpid()
    with suppress(OSError):
        return [pid for pid, parent, alive in _processes() if parent == own and not alive]
    return []


def has_descendant(root: int, program: str) -> bool:
    """Whether a process named `program` is `root` or runs somewhere below it."""
    return bool(find_descendants(root, program))


def find_descendants(root: int, program: str) -> list[int]:
    """Return the processes named `program` that are `root` or run somewhere below it."""
    found = []
    for pid in _below(_living_tree() or {}, [root]):
        with suppress(OSError):
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(os.path.basename(word) == program.encode() for word in argv[:3]):  # noqa: PTH119
                found.append(pid)
    return found


# ---- kill and collect --------------------------------------------------------------------------


def kill_leftovers(root: int | None, spare: Iterable[int]) -> int:
    """Kill the tree below `root` and every adopted orphan; return how many were hit.

    `spare` are children of ours that go on, with what they started. Without /proc only the
    session that `root` leads is found.
    """
    spared = set(spare)
    tree = _living_tree()
    if tree is None:
        return _kill_session(root)
    roots = [child for child in tree.get(os.getpid(), ()) if child not in spared]
    doomed = [*([root] if root is not None else []), *_below(tree, roots)]
    return sum(_kill(pid) for pid in dict.fromkeys(doomed))


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _kill_session(leader: int | None) -> int:
    if leader is None:
        return 0
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
        return 1
    return 0


def reap_orphans(waited_for: Callable[[int], bool]) -> int:
    """Collect the dead children, but those that are `waited_for` elsewhere; return how many.

    MOST_REAPED of them in one call: a job's children may die as fast as they are collected.

    It looks first without collecting (WNOWAIT). The kernel shows one dead child at a time, always
    the same one until that is collected: a child that is waited for elsewhere would hide all the
    others. So from there on each dead child is asked for by its pid.
    """
    count = 0
    for _ in range(MOST_REAPED):
        if (pid := _first_dead_child()) is None:
            break
        if waited_for(pid):
            others = [dead for dead in list_dead_children() if not waited_for(dead)]
            return count + sum(_collect(dead) for dead in others[: MOST_REAPED - count])
        count += _collect(pid)
    return count


def _first_dead_child() -> int | None:
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return dead and dead.si_pid


def _collect(pid: int) -> bool:
    """Collect one dead child; False if a thread of it is still ending, or if it is gone."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
