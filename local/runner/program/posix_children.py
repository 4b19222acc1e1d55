"""Child processes on POSIX: the worker with its channel, and the output of steps."""

import os
import signal
import subprocess
import sys
from typing import IO, Optional

from .signals import Signals

assert sys.platform != "win32"


def start_worker(
    folder: str, echo: bool, signals: Signals
) -> "tuple[subprocess.Popen[bytes], int]":
    """Start the worker in `folder`; return it, and the pipe on which it reads messages."""
    del signals  # SIGCHLD wakes
    reading, writing = os.pipe()
    worker = subprocess.Popen(
        [os.path.join(folder, "Runner.Worker"), "spawnclient", str(reading)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=None if echo else subprocess.DEVNULL,
        pass_fds=[reading],
    )
    os.close(reading)
    return worker, writing


def start_step(
    command: list[str], environment: dict[str, str], folder: str, reads: bool, signals: Signals
) -> "subprocess.Popen[bytes]":
    """Start a step's process, whose output comes through a pipe. Raises OSError."""
    del signals  # SIGCHLD wakes
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def ask_to_end(process: "subprocess.Popen[bytes]", final: bool) -> None:
    """Ask a step's process to end: by SIGINT, finally by SIGTERM."""
    process.send_signal(signal.SIGTERM if final else signal.SIGINT)


class Reader:
    """What comes through a pipe; something to wait for."""

    def __init__(self, descriptor: int, file: Optional[IO[bytes]] = None) -> None:
        self._descriptor, self._file = descriptor, file

    def fileno(self) -> int:
        """Be something to wait for."""
        return self._descriptor

    def read(self) -> bytes:
        """Return what is there, once there is something; nothing at the end."""
        return os.read(self._descriptor, 65536)

    def close(self) -> None:
        """Close the pipe."""
        if self._file is not None:
            self._file.close()


def open_channel(handle: int) -> Reader:
    """Return the reader of the pipe that the listener handed to the worker."""
    os.set_inheritable(handle, False)
    return Reader(handle)


def open_output(process: "subprocess.Popen[bytes]") -> Reader:
    """Return the reader of a process's output."""
    assert process.stdout is not None
    return Reader(process.stdout.fileno(), process.stdout)
