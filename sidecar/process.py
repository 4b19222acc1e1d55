"""Run a child process that cannot outlive its block, nor can anything that it started."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.errors import RunnerError
from sidecar.log.lines import Lines

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

log = structlog.get_logger()

DRAIN_OUTPUT = 1.0
"""Seconds to wait for output after the kill: a daemon can hold the pipe open for ever."""
LAST_OUTPUT = 0.2
"""Seconds to wait for output that is still in the pipes when the exit code is known."""
TREE_INTERVAL = 0.1
"""Seconds between two looks for processes that a child started: no event reports their end."""
KILL_TIMEOUT = 1.5
"""Seconds in which the tree is searched and killed: a process that forks meanwhile needs some."""
REAP_PAUSE = 0.01
"""Seconds between two rounds of collecting dead children, while there are many."""
KILL_PAUSE = 0.02
"""Seconds between two such rounds: a killed process takes a moment to end."""
LAST_PAUSE = 0.2
"""Seconds that the child itself may take to end after the last round."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: its environment, its folder, and its user (None: this process's)."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    user: host.User | None = None


_waited_for: set[int] = set()
"""The children that a thread waits for; any other child that ends here was adopted."""
_running_as_user: set[int] = set()
"""Those of them that run as the runner's user, where the agent is root."""
_inherited: set[int] = set()
"""Children that this process had before the agent began: an entrypoint may start a daemon."""


class UserKill:
    """The call that ends all processes of the runner's user, and that user's id, once it may."""

    def __init__(self, killer: host.Killer | None) -> None:
        self.killer = killer
        self.uid: int | None = None

    async def begin(self, uid: int) -> bool:
        """Kill that user's processes from now on, also when the agent ends; return whether it can.

        The caller has made sure that all of them are the agent's own.
        """
        if self.killer is None or not await self.killer.aim(uid):
            return False
        self.uid = uid
        return True

    async def kill(self) -> bool:
        """Kill all processes of that user; return whether that was possible."""
        if self.killer is None or self.uid is None:
            return False
        if not await self.killer.kill_all(self.uid):
            self.uid = None  # from here on the list of processes must do
            log.warning("process.kill_limited", reason="the process that kills does not answer")
            return False
        return True

    async def slow_down(self) -> None:
        """Give all processes of that user the lowest priority, so that the agent can go on."""
        if self.killer is not None and self.uid is not None:
            await self.killer.slow_down(self.uid)


user_kill = UserKill(None)
"""This process's own: as its signals, there is one from the first moment on."""


class Process:
    """A running child; `as_user` if it runs as the runner's user, and the agent as another."""

    def __init__(self, popen: subprocess.Popen[bytes], *, as_user: bool = False) -> None:
        self.pid = popen.pid
        self._as_user = as_user
        self._searched = False
        """True when a search for what it started has ended."""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self.readers: list[asyncio.Task[None]] = []
        # A thread, not the loop's child watcher: it is the same on every loop and system, and
        # `reap_orphans` can look at dead children without a race.
        thread = threading.Thread(target=self._wait, args=(self.ended.get_loop(),), daemon=True)
        _waited_for.add(popen.pid)
        try:
            thread.start()
        except RuntimeError:
            _waited_for.discard(popen.pid)
            raise
        if as_user:
            _running_as_user.add(popen.pid)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = host.wait_for_exit(self._popen)
        try:
            loop.call_soon_threadsafe(self._end, code)
        except RuntimeError:  # the loop is closed
            _waited_for.discard(self.pid)

    def _end(self, code: int) -> None:
        _waited_for.discard(self.pid)
        _running_as_user.discard(self.pid)
        if not self.ended.done():
            self.ended.set_result(code)

    @property
    def running(self) -> bool:
        """Whether the child itself still runs."""
        return not self.ended.done()

    def interrupt(self) -> str | None:
        """Send an interrupt to the child alone; return why that is not possible, or None."""
        return host.interrupt(self.pid) if self.running else None

    def interrupt_listener(self) -> str | None:
        """Interrupt the child, an actions runner's listener, and ask its worker to end.

        A listener tells its worker to stop only once. While GitHub cancels the job, that is used
        up: the worker would go on with its always() steps. It takes SIGTERM for a shutdown.
        Returns why that is not possible, or None.
        """
        return _interrupt_listener(self.pid) if self.running else None

    def forward_signal(self, name: str) -> str | None:
        """Send the stop signal `name` to the child's process group.

        Returns why that is not possible, or None.
        """
        return host.forward_signal(self.pid, name) if self.running else None

    def interrupt_listeners(self) -> int:
        """Do the same to every listener below the child; return how many could be interrupted.

        On Windows that is none: only a whole process group gets Ctrl-Break there, and theirs is the
        child's.
        """
        found = host.find_descendants(self.pid, host.LISTENER.name) if self.running else []
        return sum(_interrupt_listener(pid) is None for pid in found)

    async def wait_for_tree(self) -> None:
        """Wait until the child, and every process that it started, has ended by itself."""
        await asyncio.wait([self.ended])
        while set(host.list_children()) - _waited_for - _inherited:  # noqa: ASYNC110  no event for it
            await asyncio.sleep(TREE_INTERVAL)

    async def read_last_output(self) -> None:
        """Wait until the output of an ended child is read, but no longer than LAST_OUTPUT."""
        await asyncio.wait(self.readers, timeout=LAST_OUTPUT)

    async def kill(self, timeout: float = KILL_TIMEOUT) -> int:
        """Kill the child and all it started, daemons too; return how many processes were hit.

        What forks while it is searched for is searched for again, for `timeout` seconds; after a
        first such search, once more.
        """
        now = asyncio.get_running_loop().time
        last_round = now() + (0.0 if self._searched else min(timeout, KILL_TIMEOUT))
        self._searched = True
        hit = await self._kill_by_user()
        while True:
            spare = (_waited_for | _inherited) - {self.pid}
            killed = host.kill_leftovers(self.pid if self.running else None, spare=spare)
            hit += killed
            host.reap_orphans(_waited_for.__contains__)
            if not killed and not self.running and not self._has_dying(spare):
                return hit
            last = now() >= last_round
            if self.running:
                await asyncio.wait([self.ended], timeout=LAST_PAUSE if last else KILL_PAUSE)
            elif not last:
                await asyncio.sleep(KILL_PAUSE)
            if last:
                return hit

    async def _kill_by_user(self) -> int:
        """Kill all processes of the child's user; return how many of them could be collected.

        Not while another child of the agent's has the same user: it would be hit too.
        """
        if not self._as_user or _running_as_user - {self.pid}:
            return 0
        return host.reap_orphans(_waited_for.__contains__) if await user_kill.kill() else 0

    def _has_dying(self, spare: set[int]) -> bool:
        """Whether a killed process cannot be collected yet: its other threads are still ending."""
        return bool(set(host.list_dead_children()) - spare)


def _interrupt_listener(pid: int) -> str | None:
    reason = host.interrupt(pid)
    host.terminate_children(pid, host.WORKER)
    return reason


@asynccontextmanager
async def run_child(
    command: Command, on_line: Callable[[str, str], None] | None = None
) -> AsyncIterator[Process]:
    """Start `command`; on leaving the block kill it and everything that it started.

    `on_line(stream, line)` gets every line of "stdout" and "stderr"; with None the child has this
    process's own input and output. Raises RunnerError if the program cannot be started.
    """
    start = host.spawn_attached if on_line is None else host.spawn
    try:
        popen = start(command.argv, command.env, command.cwd, command.user)
    except OSError as error:
        message = f"cannot start {command.argv[0]}: {error.strerror or error}"
        raise RunnerError(message) from error
    try:
        process = Process(popen, as_user=command.user is not None)
    except RuntimeError as error:  # no thread can be had to wait for the child, or to read it
        popen.kill()
        popen.wait()
        for pipe in filter(None, (popen.stdout, popen.stderr)):
            pipe.close()
        message = f"cannot start {command.argv[0]}: {error} (the container's limit of processes?)"
        raise RunnerError(message) from error
    if on_line is not None:
        process.readers = [
            asyncio.create_task(_read(popen.stdout, "stdout", on_line)),
            asyncio.create_task(_read(popen.stderr, "stderr", on_line)),
        ]
    try:
        yield process
    finally:
        killed = await process.kill()
        if killed:
            log.info("process.killed", pid=process.pid, processes=killed)
        if process.readers:
            _, unfinished = await asyncio.wait(process.readers, timeout=DRAIN_OUTPUT)
            for reader in unfinished:
                reader.cancel()
            await asyncio.gather(*process.readers, return_exceptions=True)


async def _read(pipe: object, stream: str, on_line: Callable[[str, str], None]) -> None:
    lines = Lines(lambda line: on_line(stream, line))
    try:
        await host.read_pipe(pipe, lines.feed)
    finally:
        lines.end()


@asynccontextmanager
async def collect_orphans(every: float = 2.0) -> AsyncIterator[None]:
    """Collect adopted dead children within the block, as a container's first process must.

    `every` is in seconds. While a job runs this is most of the agent's CPU use, and a dead child
    can wait.
    """

    async def collect() -> None:
        while True:
            collected = host.reap_orphans(_waited_for.__contains__)
            # There may be more: soon again, but not before the agent has done its other work.
            await asyncio.sleep(REAP_PAUSE if collected >= host.MOST_REAPED else every)

    _inherited.update(host.list_children())
    task = asyncio.create_task(collect())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
