"""Make network namespaces that end with the test run, however that ends.

A namespace has no name that could stay. A process holds it, and the kernel kills that process when
its parent dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
TIMEOUT = 30.0
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
"""Makes a program end with the process (to be exact: the thread) that started it."""


@dataclass(frozen=True)
class Space:
    """A network namespace with its loopback up and no way out."""

    pid: int
    """The process that holds the namespace."""
    proc: str = "/proc"
    """The /proc in which that process has this number."""

    @property
    def path(self) -> str:
        """The file of the namespace."""
        return f"{self.proc}/{self.pid}/ns/net"

    def argv(self, *argv: str) -> tuple[str, ...]:
        """Return the command that runs `argv` in this namespace."""
        return ("nsenter", f"--net={self.path}", *argv)

    def run(self, *argv: str, timeout: float = TIMEOUT) -> str:
        """Run a command in this namespace to its end; return its output."""
        done = subprocess.run(
            self.argv(*argv),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        return done.stdout

    def ip(self, command: str) -> None:
        """Run `ip COMMAND` in this namespace."""
        self.run("ip", *command.split())

    def enter(self) -> None:
        """Move the calling thread into this namespace for good, with all that it starts."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(self.path).open() as space:
            if libc.setns(space.fileno(), CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

    def call(self, do: Callable[[], T]) -> T:
        """Call `do` in a new thread in this namespace; return or raise what it does."""

        def enter_and_call() -> T:
            self.enter()
            return do()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter_and_call).result()

    def play(self, play: Coroutine[Any, Any, T], *, timeout: float = 240.0) -> T:
        """Run the coroutine `play` in a new thread in this namespace."""
        return self.call(lambda: asyncio.run(asyncio.wait_for(play, timeout)))

    def fetch(self, url: str) -> bytes:
        """Request `url` in this namespace; return the body."""

        def get() -> bytes:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                return answer.read()

        return self.call(get)


@contextmanager
def create() -> Iterator[Space]:
    """Make a namespace within the block."""
    hold = "ip link set lo up && echo held && exec cat"
    argv = [*DIE_WITH_PARENT, "unshare", "--net", "sh", "-ec", hold]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == b"held\n", "no namespace"
            yield Space(holder.pid)
        finally:
            holder.kill()


def connect(one: Space, name: str, other: Space, other_name: str) -> None:
    """Connect two namespaces by a cable with these two ends."""
    one.ip(f"link add {name} type veth peer name {other_name} netns {other.pid}")
    one.ip(f"link set {name} up")
    other.ip(f"link set {other_name} up")
