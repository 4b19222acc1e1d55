"""The agent's own process on POSIX: its signals, its event loop, its limits, its protection."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import NoReturn

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

SIGNALS_TO_ALL = frozenset[str]()
"""Stop signals that the system sends to the agent's children too: none here."""

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_MEMORY_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Where control groups of version 2, and of version 1, count kills for lack of memory."""


def unblock_stop_signals(handle: Callable[[int], object]) -> None:
    """Unblock SIGTERM and SIGINT, so that those sent before now arrive.

    `handle` is their handler already. The entrypoint blocks them before it starts the agent
    (entrypoint/start). The kernel would drop a signal that the first process of a container does
    not handle yet.
    """
    del handle
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed, else None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def count_memory_kills() -> int:
    """Return how many processes of this container the kernel has killed for lack of memory."""
    for path in _MEMORY_EVENTS:
        with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123
            for line in file:
                name, _, count = line.partition(b" ")
                if name == b"oom_kill":
                    return int(count)
    return 0


def harden() -> None:
    """Protect this process's memory from its own user, and adopt orphans of its children.

    Not dumpable: /proc/<pid>/environ and mem become root's, and ptrace is refused. Subreaper: a
    daemon that outlives its job becomes our child, so that it can be found and killed.
    """
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def prepare_output() -> None:
    """Do nothing: output is UTF-8 here."""


def may_color() -> bool:
    """Return True: a terminal shows colours here."""
    return True


def exit_process(code: int) -> NoReturn:
    """End this process with `code`, and run nothing more of it."""
    os._exit(code)


def _prctl(option: int, value: int) -> None:
    import ctypes

    with suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
