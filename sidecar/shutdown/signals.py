"""The one place that hears signals. Light on purpose: it stands before the heavy imports.

A process that is PID 1 loses every signal for which it has no handler yet, and importing the
agent takes half a second; so the handlers are put up first and what they heard is kept until
somebody listens. Even `typing`, `contextlib` and our own `host` come after them: together they
would triple the time without a handler.
"""

from __future__ import annotations

import signal
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("SIGTERM", "SIGINT", "SIGBREAK")
"""What asks for a stop; no system has all of them."""
STOP_SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Signals:
    """The stop signals heard so far, in order; each is told once to the listener."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._untold: deque[str] = deque()  # its popleft is one step: no handler gets in between
        self._listener: Callable[[str], object] | None = None

    def hear(self, number: int, _frame: object = None) -> None:
        """Take one signal; this is the handler itself."""
        name = signal.Signals(number).name
        self.heard.append(name)
        self._untold.append(name)
        self._tell()

    def tell(self, listener: Callable[[str], object]) -> None:
        """Tell `listener` every signal, those heard before it came included.

        It is called from within a signal handler, in the main thread, between two bytecodes.
        """
        self._listener = listener
        self._tell()

    def _tell(self) -> None:
        while self._listener is not None:
            try:
                name = self._untold.popleft()
            except IndexError:
                return
            self._listener(name)

    def forget(self) -> None:
        """Tell nobody any more."""
        self._listener = None


class captured:  # noqa: N801  reads as the clause it is: `with captured() as heard`
    """Hear the stop signals within the block, and ignore them after it.

    They stay ignored because what follows is only the interpreter's own end: a late signal must
    not turn a clean exit into a death by signal.

    SIGINT gets a handler even when it came in ignored, as it does for a background process: a
    child inherits "ignored" but not a handler, and the runner would then be deaf to SIGINT.
    """

    def __enter__(self) -> Signals:
        """Put the handlers up, then whatever else the system needs to hear a stop."""
        signals = Signals()
        for number in STOP_SIGNALS:
            signal.signal(number, signals.hear)
        from sidecar import host

        host.hear_shutdown()
        return signals

    def __exit__(self, *_: object) -> None:
        """Ignore what comes now."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
