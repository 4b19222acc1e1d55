"""A child of root's that ends all processes of one user by one call to the kernel, on POSIX.

A list of processes is old when it has been read: a process that forks all the time is never in it.
The kernel has no such gap: kill(-1) hits every process that the caller may signal, and none of them
can fork meanwhile. So this child gets the user's id as its effective one, and has no capability,
for that call alone. Its real id belongs to nobody and its saved one to root: so no process of that
user may stop it, end it or trace it. It is forked early, because there may be no room for it later.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if sys.platform != "win32":  # the type checker reads this for both systems
    from sidecar.host.posix_processes import _processes, _read_stat
    from sidecar.host.posix_user_processes import _read_ids

if TYPE_CHECKING:
    from collections.abc import Callable

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_NAME = "sidecar-killer"
_ANSWER_TIMEOUT = 2.0
"""Seconds for one call. It takes milliseconds, but the job may keep all processors busy."""
_RECORD = struct.Struct("=cBI")
_AIM, _SLOW, _KILL = b"a", b"s", b"k"
_IDS = range(65533, 60000, -1)
"""The ids among which one is sought that nobody has: also within a container's usual 65,536 ids."""
_LOWEST_PRIORITY = 19


class Killer:
    """The agent's end of that child. It never raises: False means that nothing was done."""

    def __init__(self, pid: int, orders: int, answers: int) -> None:
        self.pid = pid
        self._orders, self._answers = orders, answers
        self._number = 0

    async def aim(self, uid: int) -> bool:
        """Let it kill that user's processes as soon as this process has ended, for any reason."""
        return await self._order(_AIM, uid)

    async def slow_down(self, uid: int) -> bool:
        """Give all processes of that user the lowest priority."""
        return await self._order(_SLOW, uid)

    async def kill_all(self, uid: int) -> bool:
        """Kill all processes of that user."""
        return await self._order(_KILL, uid)

    def end(self) -> None:
        """Let it kill once more what it was aimed at; wait for its end, _ANSWER_TIMEOUT at most."""
        os.close(self._orders)
        end = time.monotonic() + _ANSWER_TIMEOUT
        with suppress(OSError):  # somebody else may have collected it
            while select.select([self._answers], (), (), max(0.0, end - time.monotonic()))[0]:
                if not os.read(self._answers, 256):  # it closes its end when it ends
                    os.waitpid(self.pid, 0)
                    break
        os.close(self._answers)

    async def _order(self, order: bytes, uid: int) -> bool:
        """Send an order; return whether it was carried out, within _ANSWER_TIMEOUT."""
        import asyncio  # late: signals are handled before its 50 ms of imports

        self._number = self._number % 255 + 1
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        def read() -> None:
            try:
                answers = os.read(self._answers, 256)
            except BlockingIOError:
                return
            except OSError:
                answers = b""
            # Pairs of number and result; an earlier order may be answered late.
            results = dict(zip(answers[::2], answers[1::2], strict=False))
            if (not answers or self._number in results) and not answered.done():
                answered.set_result(bool(results.get(self._number, 0)))

        loop.add_reader(self._answers, read)
        try:
            os.write(self._orders, _RECORD.pack(order, self._number, uid))
            return await asyncio.wait_for(answered, _ANSWER_TIMEOUT)
        except (OSError, TimeoutError):
            return False
        finally:
            loop.remove_reader(self._answers)


def fork_killer() -> Killer | None:
    """Start the child; None if this process is not root, or if there is no room for a process.

    Call it before there are threads, and while this process is small.
    """
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        return None
    orders, answers = os.pipe(), os.pipe()
    try:
        pid = os.fork()
    except OSError:
        for descriptor in (*orders, *answers):
            os.close(descriptor)
        return None
    if pid == 0:
        with suppress(BaseException):
            _serve(orders[0], answers[1])
        os._exit(0)
    os.close(orders[0])
    os.close(answers[1])
    os.set_blocking(answers[0], False)
    return Killer(pid, orders[1], answers[0])


def list_other_killers(own: Killer) -> list[int]:
    """Return the children of this kind that other agents of this pid namespace have."""
    found = []
    for pid, _parent, alive in _processes():
        with suppress(OSError):
            if alive and pid != own.pid and _read_stat(pid)[0] == _NAME:
                real, effective, saved, _ = _read_ids(pid)
                if real != 0 and effective == saved == 0:  # no job can look like that
                    found.append(pid)
    return found


def disable_killer(pid: int) -> None:
    """Tell such a child to kill nothing any more: its user's processes may be others' too."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGUSR1)


# ---- in the child ------------------------------------------------------------------------------


def _serve(orders: int, answers: int) -> None:
    """Carry out orders until the agent has ended; then kill, if it was aimed at a user."""
    disabled: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: disabled.append(number))
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)  # the agent's stop is not its own
    _leave_everything_behind(orders, answers)
    os.setresuid(_find_free_id(), 0, 0)
    target = None
    while record := os.read(orders, _RECORD.size):
        order, number, uid = _RECORD.unpack(record)
        done = uid != 0 and not disabled
        if done and order == _AIM:
            target = uid
        elif done:
            done = _act_as(uid, _slow_down if order == _SLOW else _kill_all)
        try:
            os.write(answers, bytes((number, done)))
        except BrokenPipeError:
            break
    if target is not None and not disabled:
        _act_as(target, _kill_all)


def _leave_everything_behind(*kept: int) -> None:
    """Leave session, folder, name and open files: whoever waits for their end must not wait."""
    os.setsid()
    os.chdir("/")
    with open("/proc/self/comm", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(_NAME)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    for entry in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(entry) > 2 and int(entry) not in kept:
            with suppress(OSError):
                os.close(int(entry))


def _find_free_id() -> int:
    """Return a user id that no process and no account has."""
    used = {entry.pw_uid for entry in pwd.getpwall()}
    for pid, _parent, _alive in _processes():
        with suppress(OSError):
            used.update(_read_ids(pid))
    return next(uid for uid in _IDS if uid not in used)


def _act_as(uid: int, action: Callable[[int], None]) -> bool:
    """Call `action` with that effective id and without any capability; return whether it was."""
    os.setresuid(-1, uid, -1)
    try:
        if not _has_no_capability():  # it would hit every process there is
            return False
        action(uid)
    except OSError:
        return False
    finally:
        os.setresuid(-1, 0, -1)
    return True


def _has_no_capability() -> bool:
    with open("/proc/self/status", "rb") as file:  # noqa: PTH123
        lines = [line for line in file if line.startswith(b"CapEff:")]
    return [int(line.split()[1], 16) for line in lines] == [0]


def _slow_down(uid: int) -> None:
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_USER, uid, _LOWEST_PRIORITY)


def _kill_all(uid: int) -> None:
    """Kill; the dead need the processors too, so they get the lowest priority before."""
    with suppress(OSError):
        _slow_down(uid)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)
