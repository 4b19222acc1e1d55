"""SIGINT and SIGTERM, and a pipe that ends a wait."""

import os
import signal
import sys
from types import FrameType
from typing import Any, Callable, Optional

assert sys.platform != "win32"


class Stops:
    """Calls `interrupt` at a SIGINT and `terminate` at a SIGTERM; `wake` can be read after any."""

    def __init__(self, interrupt: Callable[[], None], terminate: Callable[[], None]) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self.wake: Any = reading
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        # .NET keeps a SIGINT that was ignored when it started.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, lambda _number, _frame: interrupt())
        signal.signal(signal.SIGTERM, lambda _number, _frame: terminate())

    def wake_for_children(self) -> None:
        """From now on a child's end wakes, too."""
        signal.signal(signal.SIGCHLD, _woken)

    def drain(self) -> None:
        """Forget that we were woken."""
        try:
            while os.read(self.wake, 512):
                pass
        except BlockingIOError:
            pass


def _woken(_number: int, _frame: Optional[FrameType]) -> None:
    """Be there, so that the signal reaches the wake-up pipe."""
