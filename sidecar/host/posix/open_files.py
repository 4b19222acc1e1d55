"""Bound the files that the agent has open: its limit, its children's, and a reserve for its end.

Each connection of a job to the agent is an open file of the agent's. What may have how many of them
is in `sidecar.net.file_budget`.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

RESERVE = 32
"""Files that are held back, so that the end of a life can open some: pipes, /proc, connections."""
_FULL = (errno.EMFILE, errno.ENFILE)
_NOFILE = resource.RLIMIT_NOFILE

_given: list[tuple[int, int]] = []
"""The limit that this process was started with, if it was raised: its children get it back."""
_reserve: list[int] = []

T = TypeVar("T")


def read_limit() -> int:
    """Return how many files and sockets this process may have open (RLIMIT_NOFILE)."""
    soft, _ = resource.getrlimit(_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def raise_limit() -> None:
    """Raise this process's limit of open files to what the system allows it; hold the reserve."""
    soft, hard = resource.getrlimit(_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(_NOFILE, (hard, hard))
        _given[:] = [(soft, hard)]
    with suppress(OSError):
        while len(_reserve) < RESERVE:
            _reserve.append(os.open(os.devnull, os.O_RDONLY))


def free_reserve() -> bool:
    """Free the files that are held back; return whether there were any."""
    had_some = bool(_reserve)
    while _reserve:
        os.close(_reserve.pop())
    return had_some


def retry_with_reserve(call: Callable[[], T]) -> T:
    """Make a call; if too many files are open, free the reserve and make it again."""
    try:
        return call()
    except OSError as error:
        if error.errno not in _FULL or not free_reserve():
            raise
        return call()


def start_program(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child with the limit of open files that this process was started with.

    A child inherits the limit, so it is lowered for that moment. Where more files are open than
    that allows, the child's own limit is set just after its start, if the system permits it.
    """
    if not _given:
        return retry_with_reserve(lambda: subprocess.Popen(argv, **options))
    raised = resource.getrlimit(_NOFILE)
    try:
        resource.setrlimit(_NOFILE, _given[0])
        return subprocess.Popen(argv, **options)
    except OSError as error:
        if error.errno not in _FULL:
            raise
    finally:
        resource.setrlimit(_NOFILE, raised)
    child = retry_with_reserve(lambda: subprocess.Popen(argv, **options))
    with suppress(OSError, AttributeError):  # only Linux has it; another user's needs SYS_RESOURCE
        resource.prlimit(child.pid, _NOFILE, _given[0])
    return child
