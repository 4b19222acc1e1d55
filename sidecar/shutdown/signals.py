"""Capture the stop signals before anything heavy is imported.

A process that is PID 1 loses every signal for which it has no handler, and importing the agent
takes half a second. So the handlers come first, and keep the signals until the life takes them.
This module imports almost nothing: `typing`, `contextlib` and `sidecar.host` would triple the
time without a handler.
"""

from __future__ import annotations

import signal
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("SIGTERM", "SIGINT", "SIGBREAK")
"""The signals that ask for a stop; no system has all of them."""
STOP_SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Signals:
    """The stop signals received so far, in order; each is delivered once."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self._undelivered: deque[str] = deque()  # popleft is atomic: no handler runs within it
        self._receiver: Callable[[str], object] | None = None

    def handle(self, number: int, _frame: object = None) -> None:
        """Keep one signal and deliver it; this is the signal handler, on Windows in any thread."""
        name = signal.Signals(number).name
        self.received.append(name)
        self._undelivered.append(name)
        self._deliver()

    def deliver_to(self, receiver: Callable[[str], object]) -> None:
        """Call `receiver` with every signal, and first with those that came before.

        It is called within the signal handler: in the main thread, between two bytecodes, or on
        Windows in a thread of the system's. So it must only hand over to the event loop.
        """
        self._receiver = receiver
        self._deliver()

    def stop_delivery(self) -> None:
        """Deliver no signal any more."""
        self._receiver = None

    def _deliver(self) -> None:
        while self._receiver is not None:
            try:
                name = self._undelivered.popleft()
            except IndexError:
                return
            self._receiver(name)


class capture:  # noqa: N801  a context manager that reads as a verb, as contextlib.suppress does
    """Capture the stop signals within the block, and ignore them after it.

    After the block only the interpreter's own exit follows. A late signal must not turn a clean
    exit into a death by signal.

    SIGINT gets a handler even where it came ignored, as in a shell's background process: a child
    inherits "ignored" but not a handler, and the runner would not react to SIGINT.
    """

    def __enter__(self) -> Signals:
        """Install the handlers, then what else the system needs to report a stop."""
        signals = Signals()
        for number in STOP_SIGNALS:
            signal.signal(number, signals.handle)
        from sidecar import host

        host.unblock_stop_signals(signals.handle)
        return signals

    def __exit__(self, *_: object) -> None:
        """Ignore the signals from here on."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
