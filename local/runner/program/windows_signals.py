"""Console events, and a pair of sockets that ends a wait.

Windows calls the handler in a thread of its own. Ctrl-C and Ctrl-Break are .NET's CancelKeyPress.
At "close" and "shutdown" .NET unloads the program, which the listener answers with its own end, and
Windows ends the process as soon as the handler returns. At "logoff" it is ended at once.
"""

import ctypes
import socket
import sys
import threading
from typing import Any, Callable

assert sys.platform == "win32"

_CTRL_C, _CTRL_BREAK, _CTRL_CLOSE, _CTRL_SHUTDOWN = 0, 1, 2, 6
_UNLOAD_SECONDS = 30.0
"""Seconds that the listener lets Windows wait for the end of its job."""


class Stops:
    """Calls `interrupt` at Ctrl-C and Ctrl-Break, `terminate` at "close" and "shutdown".

    `wake` can be read after any of them, and after `ring`.
    """

    def __init__(self, interrupt: Callable[[], None], terminate: Callable[[], None]) -> None:
        self._ringing, woken = socket.socketpair()
        self._ringing.setblocking(False)
        woken.setblocking(False)
        self.wake: Any = woken

        @ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)  # type: ignore[untyped-decorator]
        def handle(event: int) -> int:
            if event in (_CTRL_C, _CTRL_BREAK):
                interrupt()
            elif event in (_CTRL_CLOSE, _CTRL_SHUTDOWN):
                terminate()
                self.ring()
                threading.Event().wait(_UNLOAD_SECONDS)
                return 0
            else:
                return 0
            self.ring()
            return 1

        self._handler = handle  # Windows keeps its address only
        kernel = ctypes.windll.kernel32
        # Wine calls no handler of a process that leads a group, unless it says this.
        kernel.SetConsoleCtrlHandler(None, 0)
        kernel.SetConsoleCtrlHandler(handle, 1)

    def wake_for_children(self) -> None:
        """Do nothing: whoever starts a child has its end ring."""

    def ring(self) -> None:
        """Wake whoever waits."""
        try:
            self._ringing.send(b"!")
        except OSError:
            pass  # it is full: enough to be woken by

    def drain(self) -> None:
        """Forget that we were woken."""
        try:
            while self.wake.recv(512):
                pass
        except BlockingIOError:
            pass
