"""Handle the stops of this system as the listener and the worker do."""

import sys

from . import codes
from .terminal import Terminal

if sys.platform == "win32":
    from .windows_signals import Stops
else:
    from .posix_signals import Stops


class Signals(Stops):
    """While configuring a stop ends the program; later it is kept and ends a wait."""

    def __init__(self, terminal: Terminal, ignored: bool) -> None:
        self._terminal = terminal
        self._ignored = ignored
        self._configuring = True
        self.interrupted = False
        self.terminated = False
        super().__init__(self._interrupt, self._terminate)

    @property
    def asked_to_stop(self) -> bool:
        """Whether either of them came."""
        return self.interrupted or self.terminated

    def configured(self) -> None:
        """From now on a stop no longer ends the program by itself."""
        self._configuring = False
        self.wake_for_children()

    def _interrupt(self) -> None:
        if self._ignored:
            return
        self._terminal.line("Exiting...")
        if self._configuring:
            codes.leave(codes.TERMINATED)
        self.interrupted = True

    def _terminate(self) -> None:
        if self._ignored:
            return
        if self._configuring:
            codes.leave(codes.SIGTERM_RECEIVED)
        self.terminated = True
