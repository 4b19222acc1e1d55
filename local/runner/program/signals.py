"""Handle SIGINT and SIGTERM as the listener and the worker do."""

import os
import signal
import sys
from types import FrameType
from typing import Optional

from . import codes
from .terminal import Terminal


class Signals:
    """While configuring a signal ends the program; later it is kept and ends a wait."""

    def __init__(self, terminal: Terminal, ignored: bool) -> None:
        self._terminal = terminal
        self._ignored = ignored
        self._configuring = True
        self.interrupted = False
        self.terminated = False
        self.wake, self._ring = os.pipe()
        if sys.platform == "win32":
            raise NotImplementedError
        os.set_blocking(self.wake, False)
        os.set_blocking(self._ring, False)
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        # .NET keeps a SIGINT that was ignored when it started.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._terminate)

    @property
    def asked_to_stop(self) -> bool:
        """Whether either of them came."""
        return self.interrupted or self.terminated

    def configured(self) -> None:
        """From now on a signal no longer ends the program by itself."""
        if sys.platform == "win32":
            raise NotImplementedError
        self._configuring = False
        signal.signal(signal.SIGCHLD, _woken)

    def drain(self) -> None:
        """Forget that we were woken."""
        try:
            while os.read(self.wake, 512):
                pass
        except BlockingIOError:
            pass

    def _interrupt(self, _number: int, _frame: Optional[FrameType]) -> None:
        if self._ignored:
            return
        self._terminal.line("Exiting...")
        if self._configuring:
            os._exit(codes.TERMINATED)
        self.interrupted = True

    def _terminate(self, _number: int, _frame: Optional[FrameType]) -> None:
        if self._ignored:
            return
        if self._configuring:
            os._exit(codes.SIGTERM_RECEIVED)
        self.terminated = True


def _woken(_number: int, _frame: Optional[FrameType]) -> None:
    """Be there, so that the signal reaches the wake-up pipe."""
