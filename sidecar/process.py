"""A child that cannot outlive its block, nor anything that it started."""

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
"""Seconds that output may still arrive after the end: a daemon can hold the pipe open for ever."""
LAST_WORDS = 0.2
"""Seconds for reading what stands in the pipes when the exit code is known, before judging it."""
GONE_EVERY = 0.1
"""Seconds between two looks for what a child has left behind: nothing tells of its end."""
KILL_ROUNDS = 50
"""How often the tree is looked through again: what forks while it is killed needs some rounds."""
KILL_PAUSE = 0.02
"""Seconds between two such rounds: what was just killed takes a moment to be gone."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, with which environment, where, and as whom (None: as this process)."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    user: host.Identity | None = None


_alive: set[int] = set()
"""The children that somebody waits for; anything else that dies here was adopted."""
_inherited: set[int] = set()
"""Children from before the agent was this process: a daemon that an entrypoint started, say."""


class Process:
    """A running child."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.pid = popen.pid
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self.readers: list[asyncio.Task[None]] = []
        # A thread, not the loop's child watcher: the same on every loop and system, and the only
        # way that lets somebody else peek at dead children without racing it.
        waiting = threading.Thread(target=self._wait, args=(self.ended.get_loop(),), daemon=True)
        _alive.add(popen.pid)
        try:
            waiting.start()
        except RuntimeError:
            _alive.discard(popen.pid)
            raise

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._popen.wait()
        try:
            loop.call_soon_threadsafe(self._end, code)
        except RuntimeError:  # the loop is gone: nobody wants to know any more
            _alive.discard(self.pid)

    def _end(self, code: int) -> None:
        _alive.discard(self.pid)
        if not self.ended.done():
            self.ended.set_result(code)

    @property
    def running(self) -> bool:
        """Whether the child itself is still there."""
        return not self.ended.done()

    def interrupt(self) -> None:
        """Ask the child, and it alone, to end."""
        if self.running:
            host.interrupt(self.pid)

    def forward(self, name: str) -> None:
        """Hand the stop signal `name` on to the child's process group."""
        if self.running:
            host.forward(self.pid, name)

    def interrupt_listeners(self) -> int:
        """Interrupt every actions runner's listener below the child; return how many there are."""
        found = host.descendants(self.pid, host.LISTENER.name) if self.running else []
        for pid in found:
            host.interrupt(pid)
        return len(found)

    async def gone(self) -> None:
        """Wait until the child has ended, and whatever came of it, by themselves."""
        await asyncio.wait([self.ended])
        while True:
            if not set(host.children()) - _alive - _inherited:
                return
            await asyncio.sleep(GONE_EVERY)

    async def heard_out(self) -> None:
        """Wait until what an ended child wrote has been heard, but no longer than LAST_WORDS."""
        await asyncio.wait(self.readers, timeout=LAST_WORDS)

    async def kill(self) -> int:
        """Kill the child and all it started, daemons too; return how many processes were hit."""
        hit = 0
        for _ in range(KILL_ROUNDS):
            killed = host.kill_leftovers(
                self.pid if self.running else None, spare=(_alive | _inherited) - {self.pid}
            )
            hit += killed
            host.reap_orphans(_alive.__contains__)
            if not killed and not self.running:
                break
            if self.running:
                await asyncio.wait([self.ended], timeout=KILL_PAUSE)
            else:
                await asyncio.sleep(KILL_PAUSE)
        return hit


@asynccontextmanager
async def running(
    command: Command, hear: Callable[[str, str], None] | None = None
) -> AsyncIterator[Process]:
    """Start `command`; on leaving nothing of it is left.

    `hear(stream, line)` gets every line of "stdout" and "stderr"; with None its input and output
    are this process's own. Raises RunnerError if the program cannot be started.
    """
    start = host.spawn_attached if hear is None else host.spawn
    try:
        popen = start(command.argv, command.env, command.cwd, command.user)
    except OSError as error:
        message = f"cannot start {command.argv[0]}: {error.strerror or error}"
        raise RunnerError(message) from error
    try:
        process = Process(popen)
    except RuntimeError as error:  # not a thread more: what waits for the child, or reads it
        popen.kill()
        popen.wait()
        for pipe in filter(None, (popen.stdout, popen.stderr)):
            pipe.close()
        message = f"cannot start {command.argv[0]}: {error} (the container's limit of processes?)"
        raise RunnerError(message) from error
    if hear is not None:
        process.readers = [
            asyncio.create_task(_read(popen.stdout, "stdout", hear)),
            asyncio.create_task(_read(popen.stderr, "stderr", hear)),
        ]
    try:
        yield process
    finally:
        left = await process.kill()
        if left:
            log.info("process.killed", pid=process.pid, processes=left)
        if process.readers:
            _, open_still = await asyncio.wait(process.readers, timeout=DRAIN_OUTPUT)
            for reader in open_still:
                reader.cancel()
            await asyncio.gather(*process.readers, return_exceptions=True)


async def _read(pipe: object, stream: str, hear: Callable[[str, str], None]) -> None:
    lines = Lines(lambda line: hear(stream, line))
    try:
        await host.read_pipe(pipe, lines.feed)
    finally:
        lines.end()


@asynccontextmanager
async def reaping(every: float = 2.0) -> AsyncIterator[None]:
    """Collect adopted dead within the block, as the first process of a container must.

    `every` so many seconds: an agent that waits for a job to end does little else, so that this
    is most of the CPU it takes meanwhile, and the dead are in no hurry.
    """

    async def reap() -> None:
        while True:
            host.reap_orphans(_alive.__contains__)
            await asyncio.sleep(every)

    _inherited.update(host.children())
    task = asyncio.create_task(reap())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
