"""Let the kernel kill a process of the job, not the agent, when memory is full, on POSIX."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_PROTECTED = -900
"""Not -1000, which would hide the agent from the kernel altogether: it may be what leaks."""
_score_file = "/proc/self/oom_score_adj"
_usual: list[int] = []
"""The score that this process's children get; empty while the agent has no score of its own."""


def protect_from_memory_kill() -> bool:
    """Let the kernel kill any other process before this one; return whether it allows that.

    It needs SYS_RESOURCE. Call it before anything is started: a child inherits the score.
    """
    try:
        with open(_score_file, encoding="ascii") as file:  # noqa: PTH123
            given = int(file.read())
        _write_score(min(given, _PROTECTED))
    except (OSError, ValueError):
        return False
    _usual[:] = [max(given, 0)]
    return True


@contextmanager
def usual_memory_score() -> Iterator[None]:
    """Take the usual score while a child is started, which inherits it together with its floor.

    A process may lower its score to the value that one with SYS_RESOURCE wrote last, and children
    inherit that too. If the agent only changed a child's score once it runs, then what that child
    had started by then would keep the agent's.
    """
    if not _usual:
        yield
        return
    _write_score(_usual[0])  # an error must not start a child that is safer than the agent
    try:
        yield
    finally:
        with suppress(OSError):
            _write_score(_PROTECTED)


def _write_score(score: int) -> None:
    with open(_score_file, "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(str(score))
