"""Start a program and measure it: when it started and ended, and what it used."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KIB = 1024
LONGEST = 120.0
"""Seconds after which a child is killed, so that a bench always ends."""


class Child:
    """A process started by `posix_spawn`; ended by `ended()` or, at the latest, by `kill()`.

    Not `subprocess`: that does not give the resource usage of a single child.
    """

    def __init__(self, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
        reading, writing = os.pipe()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_DUP2, writing, 2),
        ]
        self.started = time.monotonic()
        self.pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setpgroup=0)
        os.close(writing)
        self._watchdog = threading.Timer(LONGEST, os.kill, (self.pid, signal.SIGKILL))
        self._watchdog.daemon = True
        self._watchdog.start()
        self.said: list[str] = []
        self._output = os.fdopen(reading, encoding="utf-8", errors="replace")
        self._gone: tuple[int, resource.struct_rusage, float] | None = None

    def lines(self) -> Iterator[str]:
        """Give its lines as they come, of both streams."""
        for line in self._output:
            self.said.append(line)
            yield line

    def until(self, *parts: str) -> None:
        """Read up to a line that holds all of `parts`; raises RuntimeError if it ends first."""
        for line in self.lines():
            if all(part in line for part in parts):
                return
        raise RuntimeError(f"ended before it printed {parts}: {''.join(self.said[-20:])}")

    def signal(self, number: int) -> float:
        """Send a signal; return when."""
        os.kill(self.pid, number)
        return time.monotonic()

    def ended(self) -> tuple[int, resource.struct_rusage, float]:
        """Wait for its end; returns exit code, what it used, and when it had ended."""
        if self._gone is None:
            _, status, usage = os.wait4(self.pid, 0)
            at = time.monotonic()
            self._watchdog.cancel()
            self._gone = os.waitstatus_to_exitcode(status), usage, at
            self.said += self._output  # small: its last lines wait in the pipe
            self._output.close()
        return self._gone

    def kill(self) -> None:
        """Kill what still runs of it."""
        if self._gone is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.ended()


def cpu_seconds(usage: resource.struct_rusage) -> float:
    """Return user and system time together."""
    return usage.ru_utime + usage.ru_stime


def peak_mib(usage: resource.struct_rusage) -> float:
    """Return the peak resident memory of the process itself.

    The kernel counts what the starting process held at the moment of the exec towards the new
    one (getrusage(2), Linux), so a reading says something only above the bench's own size.
    Raises RuntimeError when that is not so.
    """
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if usage.ru_maxrss <= own:
        raise RuntimeError(f"cannot read a peak below the bench's own {own / KIB:.0f} MiB")
    return float(usage.ru_maxrss) / KIB


def cpu_ms_now(pid: int) -> float:
    """Return the CPU time of a living process, all its threads, in milliseconds.

    /proc/<pid>/stat counts in ticks of 10 ms, half of what is to be measured in a minute; the
    scheduler's own account counts nanoseconds.
    """
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6
