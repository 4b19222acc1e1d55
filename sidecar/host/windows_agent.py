"""The agent's own process on Windows: its console events, its event loop, its end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from sidecar.host.win32 import console

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import NoReturn

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

SIGNALS_TO_ALL = frozenset({"SIGTERM"})
"""Stop signals that the system sends to the agent's children too: a container's stop is one."""

_SIGNALS = {
    console.CTRL_C: signal.SIGINT,
    console.CTRL_BREAK: signal.SIGBREAK,
    console.CLOSE: signal.SIGTERM,
    console.LOGOFF: signal.SIGTERM,
    console.SHUTDOWN: signal.SIGTERM,
}
"""The signal that stands for each console event."""
_kept: list[object] = []
"""The job object that this process is in: it ends with the process, not before."""


def unblock_stop_signals(handle: Callable[[int], object]) -> None:
    """Call `handle` with a signal's number for each console event that asks for a stop.

    Python itself knows only Ctrl-C and Ctrl-Break. It is called in a thread of the system's. And
    the agent is asked before its children, which may go on meanwhile.
    """
    console.handle_events(lambda event: handle(_SIGNALS[event]))
    console.ask_this_process_first()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the Proactor loop, the only one here that supports pipes."""
    import asyncio  # late: console events are handled before its imports

    return asyncio.ProactorEventLoop


def count_memory_kills() -> int:
    """Return 0: Windows refuses to give more memory, it does not kill."""
    return 0


def harden() -> None:
    """Put this process into a job object, so that all it starts ends with it.

    Each child has a job object of its own from its first moment (`spawn`); this one is for the
    moment before. Another process of the same user can always read this one's memory here.
    """
    from sidecar.host.win32.jobs import Job

    with suppress(OSError):  # a job object around this process may not allow that
        job = Job()
        job.add_this_process()
        _kept.append(job)


def prepare_output() -> None:
    r"""Write UTF-8 and plain line ends to redirected output, whatever the system's code page is.

    That code page lacks letters, and an event with one would be lost. A terminal takes every letter
    anyway.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be no stream, or another
            if not stream.isatty():
                stream.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]


def may_color() -> bool:
    """Return False: structlog needs another package for that here."""
    return False


def exit_process(code: int) -> NoReturn:
    """End this process with `code`, and run nothing more of it.

    Exit codes have 32 bits without a sign here, as 0xC0000005; Python takes a signed number.
    """
    os._exit(ctypes.c_int32(code).value)
