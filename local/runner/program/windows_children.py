"""Child processes on Windows: the worker with its channel, and the output of steps.

There `select` knows sockets only. So a thread reads each pipe and passes it on through a pair of
sockets, and another one waits for each child's end.
"""

import msvcrt
import os
import socket
import subprocess
import sys
import threading

from .signals import Signals

assert sys.platform == "win32"


def start_worker(
    folder: str, echo: bool, signals: Signals
) -> "tuple[subprocess.Popen[bytes], int]":
    """Start the worker in `folder`; return it, and the pipe on which it reads messages.

    It has a console of its own, without a window: it receives none of the listener's events.
    """
    reading, writing = os.pipe()
    handle = msvcrt.get_osfhandle(reading)
    os.set_handle_inheritable(handle, True)
    worker = subprocess.Popen(
        [os.path.join(folder, "Runner.Worker.exe"), "spawnclient", str(handle)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=None if echo else subprocess.DEVNULL,
        creationflags=subprocess.CREATE_NO_WINDOW,
        startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]}),
    )
    os.close(reading)
    _ring_at_end(worker, signals)
    return worker, writing


def start_step(
    command: list[str], environment: dict[str, str], folder: str, reads: bool, signals: Signals
) -> "subprocess.Popen[bytes]":
    """Start a step's process, whose output comes through a pipe. Raises OSError."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        creationflags=subprocess.CREATE_NO_WINDOW,
    )
    _ring_at_end(process, signals)
    return process


def _ring_at_end(process: "subprocess.Popen[bytes]", signals: Signals) -> None:
    def wait() -> None:
        process.wait()
        signals.ring()

    threading.Thread(target=wait, daemon=True).start()


def ask_to_end(process: "subprocess.Popen[bytes]", final: bool) -> None:
    """Do nothing: the step is killed when its time is over.

    The real worker enters the step's console and generates Ctrl-C, finally Ctrl-Break. Wine ends
    whoever does that.
    """
    del process, final


class Reader:
    """What comes through a pipe; something to wait for."""

    def __init__(self, descriptor: int) -> None:
        self._socket, sending = socket.socketpair()
        threading.Thread(target=_pass_on, args=(descriptor, sending), daemon=True).start()

    def fileno(self) -> int:
        """Be something to wait for."""
        return self._socket.fileno()

    def read(self) -> bytes:
        """Return what is there, once there is something; nothing at the end."""
        return self._socket.recv(65536)

    def close(self) -> None:
        """Read no more; the pipe itself closes with its other end."""
        self._socket.close()


def _pass_on(descriptor: int, sending: socket.socket) -> None:
    with sending:
        try:
            while data := os.read(descriptor, 65536):
                sending.sendall(data)
        except OSError:
            pass  # nobody reads any more


def open_channel(handle: int) -> Reader:
    """Return the reader of the pipe that the listener handed to the worker."""
    os.set_handle_inheritable(handle, False)
    return Reader(msvcrt.open_osfhandle(handle, os.O_RDONLY | os.O_BINARY))


def open_output(process: "subprocess.Popen[bytes]") -> Reader:
    """Return the reader of a process's output."""
    assert process.stdout is not None
    return Reader(os.dup(process.stdout.fileno()))
