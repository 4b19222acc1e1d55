"""The agent's own process on Windows. Type-checked everywhere, run only on Windows."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_CTRL_CLOSE, _CTRL_LOGOFF, _CTRL_SHUTDOWN = 2, 5, 6
_keep_alive: list[object] = []


def unblock_stop_signals() -> None:
    """Turn the console's close, logoff and shutdown events into SIGBREAK.

    A container stop arrives as CTRL_SHUTDOWN_EVENT on its own thread. Windows ends the process
    when that thread returns, so it never returns.
    """
    import ctypes

    @ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)  # type: ignore[untyped-decorator]
    def handle(event: int) -> int:
        if event in (_CTRL_CLOSE, _CTRL_LOGOFF, _CTRL_SHUTDOWN):
            signal.raise_signal(signal.SIGBREAK)
            threading.Event().wait()
        return 0

    _keep_alive.append(handle)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(handle, 1)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the Proactor loop, the only one here that supports pipes."""
    return asyncio.ProactorEventLoop


def max_open_files() -> int:
    """Return how many sockets this process may have open: Windows has no such limit."""
    return sys.maxsize


def count_memory_kills() -> int:
    """Return 0: Windows refuses to give more memory, it does not kill."""
    return 0


def harden() -> None:
    """Do nothing: another process of the same user can always read this one's memory."""
