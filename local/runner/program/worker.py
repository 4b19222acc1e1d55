"""`bin/Runner.Worker`: runs one job and exits with 100 plus the number of its result."""

import json
import os
import sys
from typing import Any

from . import children, codes
from .misbehaviour import Misbehaviour
from .signals import Signals
from .terminal import Terminal


def main(root: str) -> None:
    """Take the job from the channel that the listener names, run it, leave."""
    terminal = Terminal(root, "Worker")
    if len(sys.argv) != 3 or sys.argv[1] != "spawnclient" or not sys.argv[2].isdecimal():
        terminal.error("Value cannot be null. (Parameter 'pipeHandleOut')")
        os._exit(1)
    knobs = Misbehaviour(root)
    signals = Signals(terminal, ignored=bool(knobs.knob("ignore_signals")))
    signals.configured()
    channel = Channel(int(sys.argv[2]))
    from .job import run

    result = run(root, channel, signals, terminal, knobs)
    os._exit(codes.RESULT_OFFSET + codes.RESULTS.index(result))


class Channel:
    """The listener's messages, one JSON text a line."""

    def __init__(self, handle: int) -> None:
        self._reader = children.open_channel(handle)
        self._buffer = b""

    def fileno(self) -> int:
        """Be something to wait for."""
        return self._reader.fileno()

    @property
    def pending(self) -> bool:
        """Whether a message was read already, with the one before."""
        return b"\n" in self._buffer

    def message(self) -> dict[str, Any]:
        """Wait for the next one. A listener that died takes its worker with it, not its steps."""
        while not self.pending:
            data = self._reader.read()
            if not data:
                os._exit(1)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))
