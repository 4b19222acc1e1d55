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
from sidecar.lines import Lines

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

log = structlog.get_logger()

DRAIN_OUTPUT = 1.0
"""Seconds that output may still arrive after the end: a daemon can hold the pipe open for ever."""
LAST_WORDS = 0.2
"""Seconds for reading what stands in the pipes when the exit code is known, before judging it."""
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
        _alive.add(popen.pid)
        # A thread, not the loop's child watcher: the same on every loop and system, and the only
        # way that lets somebody else peek at dead children without racing it.
        threading.Thread(target=self._wait, args=(self.ended.get_loop(),), daemon=True).start()

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
async def running(command: Command, hear: Callable[[str, str], None]) -> AsyncIterator[Process]:
    """Start `command`; on leaving nothing of it is left.

    `hear(stream, line)` gets every line of "stdout" and "stderr". Raises RunnerError if the
    program cannot be started.
    """
    try:
        popen = host.spawn(command.argv, command.env, command.cwd, command.user)
    except OSError as error:
        message = f"cannot start {command.argv[0]}: {error.strerror or error}"
        raise RunnerError(message) from error
    process = Process(popen)
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
async def reaping(every: float = 1.0) -> AsyncIterator[None]:
    """Collect adopted dead within the block, as the first process of a container must."""

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
