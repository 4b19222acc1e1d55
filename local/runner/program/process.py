"""One process of a job: its output, and the ladder it is ended with.

SIGINT to the process alone; 7.5 s later SIGTERM; 2.5 s later SIGKILL to its whole tree; output that
somebody else still holds open is waited for 5 s (actions/runner, `ProcessInvoker`).
"""

import select
import time
from typing import TYPE_CHECKING, Any, Callable

from . import children, tree
from .conditions import holds
from .misbehaviour import Misbehaviour
from .signals import Signals

if TYPE_CHECKING:
    import subprocess


_LOOKS = 64
"""Each takes up to 64 KiB; a pipe holds a MiB at most."""


class Invoker:
    """Runs processes one after the other while listening to the listener and to signals."""

    def __init__(self, channel: Any, signals: Signals, knobs: Misbehaviour) -> None:
        self._channel, self._signals = channel, signals
        self._interrupt = knobs.seconds("step_interrupt_seconds", 7.5)
        self._terminate = knobs.seconds("step_terminate_seconds", 2.5)
        self._stream = knobs.seconds("step_stream_seconds", 5.0)
        self.canceled = False
        self.shutdown = False
        self.step_canceled = False

    def take_messages(self) -> None:
        """Take the messages that have come meanwhile, without waiting."""
        if self._channel.pending or select.select([self._channel], [], [], 0)[0]:
            self._take_message(self._channel.message())
        if self._signals.asked_to_stop:
            self.canceled = self.shutdown = True

    def _take_message(self, message: dict[str, Any]) -> None:
        self.canceled = True
        if message["messageType"] in ("RunnerShutdown", "OperatingSystemShutdown"):
            self.shutdown = True

    def pause(self, seconds: float, *, until_canceled: bool = False) -> None:
        """Sleep, and take messages meanwhile; the worker ends if its listener does.

        With `until_canceled` a cancel or a signal ends the pause.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if until_canceled and not self.allows("success()"):
                return
            reads = [self._channel, self._signals.wake] if until_canceled else [self._channel]
            ready = select.select(reads, [], [], left)[0]
            if self._channel in ready:
                self._take_message(self._channel.message())
            if self._signals.wake in ready:
                self._signals.drain()

    def allows(self, condition: str) -> bool:
        """Return whether a step with this condition may go on; none may at a shutdown."""
        self.take_messages()
        return not self.shutdown and holds(condition, failed=False, canceled=self.canceled)

    def may_start(self) -> bool:
        """Whether anything more may run; not so once the runner shuts down."""
        self.take_messages()
        return not self.shutdown

    def run(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: str,
        output: Callable[[str], None],
        condition: str,
        text: str = "",
    ) -> int:
        """Run a command with `text` as its input; return its exit code, negative for a signal."""
        self.step_canceled = False
        started_canceled = self.canceled
        try:
            process = children.start_step(command, environment, folder, bool(text), self._signals)
        except OSError as error:
            output(f"##[error]An error occurred trying to start process: {error}\n")
            return 1
        if process.stdin is not None:
            process.stdin.write(text.encode())
            process.stdin.close()
        return self._watch(process, output, condition, started_canceled)

    def _watch(
        self,
        process: "subprocess.Popen[bytes]",
        output: Callable[[str], None],
        condition: str,
        started_canceled: bool,
    ) -> int:
        ladder = _Ladder(process, self._interrupt, self._terminate)
        stream = _Stream(process, output)
        ended = float("inf")
        while stream.open or process.poll() is None:
            if process.poll() is not None and ended == float("inf"):
                ended = time.monotonic() + self._stream
            if self._must_end(condition, started_canceled):
                self.step_canceled = True
                ladder.climb()
            if time.monotonic() >= ended:
                stream.read_rest()
                tree.kill(process.pid)
                # What the process itself wrote last is in the pipe, however late this one looks.
                if stream.open and select.select([stream], [], [], 0)[0]:
                    stream.read()
                break
            self._await(stream, min(ended, ladder.due))
        stream.finish()
        return process.wait()

    def _await(self, stream: "_Stream", due: float) -> None:
        """Wait until something happens or is due."""
        reads: list[Any] = [self._channel, self._signals.wake]
        if stream.open:
            reads.append(stream)
        left = None if due == float("inf") else max(0.0, due - time.monotonic())
        ready = select.select(reads, [], [], left)[0]
        if self._signals.wake in ready:
            self._signals.drain()
        if self._channel in ready:
            self._take_message(self._channel.message())
        if stream in ready:
            stream.read()

    def _must_end(self, condition: str, started_canceled: bool) -> bool:
        self.take_messages()
        if self.shutdown:
            return True
        if not self.canceled or started_canceled:
            return False
        # A cancel asks the running step's condition once more: always() goes on.
        return not holds(condition, failed=False, canceled=True)


class _Stream:
    """A process's output, passed on in whole lines."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Callable[[str], None]) -> None:
        self._reader, self._output = children.open_output(process), output
        self._rest = b""
        self.open = True

    def fileno(self) -> int:
        """Be something to wait for."""
        return self._reader.fileno()

    def read(self) -> None:
        """Pass on what is there."""
        data = self._reader.read()
        self.open = bool(data)
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            # .NET ends a line with either, on every system.
            self._output(whole.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\r") + "\n")

    def read_rest(self) -> None:
        """Pass on what was written in time, however late it is read; a holder may go on writing."""
        for _ in range(_LOOKS):
            if not self.open or not select.select([self], [], [], 0)[0]:
                break
            self.read()

    def finish(self) -> None:
        """Pass on the rest, though its line never ended."""
        if self._rest:
            self._output(self._rest.decode("utf-8", "replace") + "\n")
        self._reader.close()


class _Ladder:
    """Three rungs; `due` is when the next one is."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", interrupt: float, terminate: float
    ) -> None:
        self._process = process
        self._waits = [interrupt, terminate, float("inf")]
        self._rung = 0
        self.due = float("inf")

    def climb(self) -> None:
        """Take the next rung if it is time for it."""
        if self._rung and time.monotonic() < self.due:
            return
        if self._rung < 3 and self._process.poll() is None:
            if self._rung == 2:
                tree.kill(self._process.pid)
            else:
                children.ask_to_end(self._process, final=self._rung == 1)
            self.due = time.monotonic() + self._waits[self._rung]
            self._rung += 1
        elif self._process.poll() is not None:
            self.due = float("inf")
