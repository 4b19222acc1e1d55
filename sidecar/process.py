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
KILL_ROUNDS = 50
"""How often the tree is searched and killed: a process that forks meanwhile needs some rounds."""
KILL_PAUSE = 0.02
"""Seconds between two such rounds: a killed process takes a moment to end."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: its environment, its folder, and its user (None: this process's)."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    user: host.User | None = None


_waited_for: set[int] = set()
"""The children that a thread waits for; any other child that ends here was adopted."""
_inherited: set[int] = set()
"""Children that this process had before the agent began: an entrypoint may start a daemon."""


class Process:
    """A running child."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.pid = popen.pid
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

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = host.wait_for_exit(self._popen)
        try:
            loop.call_soon_threadsafe(self._end, code)
        except RuntimeError:  # the loop is closed
            _waited_for.discard(self.pid)

    def _end(self, code: int) -> None:
        _waited_for.discard(self.pid)
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

    async def kill(self) -> int:
        """Kill the child and all it started, daemons too; return how many processes were hit."""
        hit = 0
        for _ in range(KILL_ROUNDS):
            spare = (_waited_for | _inherited) - {self.pid}
            killed = host.kill_leftovers(self.pid if self.running else None, spare=spare)
            hit += killed
            host.reap_orphans(_waited_for.__contains__)
            if not killed and not self.running and not self._has_dying(spare):
                break
            if self.running:
                await asyncio.wait([self.ended], timeout=KILL_PAUSE)
            else:
                await asyncio.sleep(KILL_PAUSE)
        return hit

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
        process = Process(popen)
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
            host.reap_orphans(_waited_for.__contains__)
            await asyncio.sleep(every)

    _inherited.update(host.list_children())
    task = asyncio.create_task(collect())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
