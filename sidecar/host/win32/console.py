"""Console events: take those that are sent to this process, and send Ctrl-Break to a child.

The console's events are what Windows has for signals. Two of them, Ctrl-C and Ctrl-Break, can be
sent by a program; the others say that the console is closed, the user logs off, or the system shuts
down. A container's stop is CTRL_SHUTDOWN_EVENT, to every process in it.

Imported before anything heavy: until then, such an event ends the process.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes

from sidecar.host.win32 import libraries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

CTRL_C, CTRL_BREAK, CLOSE, LOGOFF, SHUTDOWN = 0, 1, 2, 5, 6
_ENDING = (CLOSE, LOGOFF, SHUTDOWN)
"""Events after which Windows ends the process: when its handler returns, or after some seconds."""
_FIRST_ASKED = 0x3FF
"""The highest level that an application may have; all others have 0x280."""
_NO_RETRY = 1
_INFINITE = 0xFFFFFFFF

_Handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)
_set_handler = libraries.declare(
    libraries.kernel32, "SetConsoleCtrlHandler", wintypes.BOOL, ctypes.c_void_p, wintypes.BOOL
)
_set_shutdown_level = libraries.declare(
    libraries.kernel32,
    "SetProcessShutdownParameters",
    wintypes.BOOL,
    wintypes.DWORD,
    wintypes.DWORD,
)
_sleep = libraries.declare(libraries.kernel32, "Sleep", None, wintypes.DWORD)
_generate = libraries.declare(
    libraries.kernel32, "GenerateConsoleCtrlEvent", wintypes.BOOL, wintypes.DWORD, wintypes.DWORD
)
_attach = libraries.declare(libraries.kernel32, "AttachConsole", wintypes.BOOL, wintypes.DWORD)
_free = libraries.declare(libraries.kernel32, "FreeConsole", wintypes.BOOL)

_installed: list[object] = []
"""The handler, which must live as long as the process."""
_ending: list[int] = []
"""The events whose handler never returns. It may hold the lock of all calls about the console."""


def handle_events(receive: Callable[[int], object]) -> None:
    """Call `receive` with the number of each event, in a thread that the system makes for it.

    For an event that ends the process the thread never returns, so that the process has what time
    the system gives it. Ctrl-C comes too where it was switched off, as in a process group of one's
    own: a child would inherit that.
    """

    def handle(event: int) -> int:
        if event not in (CTRL_C, CTRL_BREAK, *_ENDING):
            return 0
        if event in _ENDING:
            _ending.append(event)
        receive(event)
        while event in _ENDING:
            _sleep(_INFINITE)  # it does not hold the interpreter's lock
        return 1

    callback = _Handler(handle)
    _installed.append(callback)
    _set_handler(None, 0)
    _set_handler(ctypes.cast(callback, ctypes.c_void_p), 1)


def ask_this_process_first() -> None:
    """Ask the system to send a shutdown to this process before all others.

    They get it only when this process has ended, as far as there is time: so a job may go on.
    """
    _set_shutdown_level(_FIRST_ASKED, _NO_RETRY)


def send_break(group: int) -> str | None:
    """Send Ctrl-Break to a process group; return why that is not possible, None if it was sent.

    A process can send events only within its own console. A child of a process that has none gets
    a new one: this process then joins that for a moment. Not while it is told to end: it has a
    console then, and joining another would wait for the handler's end.
    """
    if _generate(CTRL_BREAK, group):
        return None
    code = ctypes.get_last_error()
    if not _ending and _attach(group):
        try:
            if _generate(CTRL_BREAK, group):
                return None
            code = ctypes.get_last_error()
        finally:
            _free()
    words = ctypes.FormatError(code).strip().rstrip(".")
    return f"Ctrl-Break cannot be sent to {group}: {words} ({code})"
