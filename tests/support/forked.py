"""Run a command of the project in a fork of a process that has imported all of it.

Importing takes as long as the command itself, and it is the same each time. The fork has its own
variables, output and exit code, as a process that was started anew. It is in the network namespace
of the process that forks, so a play in another one starts the command itself (`may_fork`).
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.net.trust import make_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

ROOT = Path(__file__).parents[2]
PACKAGES = ("sidecar", "launcher")
MODULES = (
    "sidecar.__main__",
    "sidecar.cli.doctor",
    "launcher.__main__",
    "launcher.cli",
    "launcher.doctor.command",
    "uvloop",
)
LONGEST_REQUEST = 1 << 20
LONGEST_CODE = 16


def may_fork(argv: Sequence[str]) -> bool:
    """Say whether a fork can play `argv`: a command of the project, in this network namespace."""
    places = (Path("/proc", name, "ns/net") for name in ("thread-self", "self"))
    own, of_process = (place.readlink() for place in places)
    return own == of_process and _find_package(argv) is not None


def _find_package(argv: Sequence[str]) -> str | None:
    program, option, package, *_ = *argv, "", "", ""
    known = (program, option) == (sys.executable, "-m") and package in PACKAGES
    return package if known else None


async def play(
    argv: Sequence[str], env: Mapping[str, str], timeout: float
) -> tuple[int, bytes, bytes]:
    """Run `argv` to its end, in a fork if that can be; return its exit code, output and errors.

    It is killed, and TimeoutError raised, if it takes longer.
    """
    if may_fork(argv):
        return await run(argv, env, timeout)
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), timeout)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output, errors


async def run(
    argv: Sequence[str], env: Mapping[str, str], timeout: float
) -> tuple[int, bytes, bytes]:
    """Run `python -m PACKAGE WORDS…` to its end; return its exit code, output and errors.

    It is killed, and TimeoutError raised, if it takes longer.
    """
    return await asyncio.to_thread(_run, list(argv), dict(env), timeout)


def _run(argv: list[str], env: dict[str, str], timeout: float) -> tuple[int, bytes, bytes]:
    request = json.dumps({"package": _find_package(argv), "words": argv[3:], "env": env}).encode()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        connection.settimeout(timeout)
        connection.connect(_start())
        socket.send_fds(connection, [request], [output.fileno(), errors.fileno()])
        code = connection.recv(LONGEST_CODE)
        if not code:
            raise RuntimeError(f"nothing is known of the end of {argv}")
        output.seek(0)
        errors.seek(0)
        return int(code), output.read(), errors.read()


@cache
def _start() -> str:
    """Start the process that forks, once for all tests of this process; return its address."""
    folder = tempfile.TemporaryDirectory(prefix="forked-")
    address = str(Path(folder.name) / "socket")
    words = (sys.executable, "-m", "tests.support.forked", address)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen(words, cwd=ROOT, **pipes)  # type: ignore[call-overload]

    def end() -> None:
        child.communicate()  # it ends with its input
        folder.cleanup()

    atexit.register(end)
    if not child.stdout.readline():
        raise RuntimeError("the process that forks has not started")
    return address


# --- in the process that forks --------------------------------------------------------------------


def serve(address: str) -> None:
    """Import everything, then fork for each connection, until the standard input ends."""
    for name in MODULES:
        importlib.import_module(name)
    make_context()  # reading the authorities takes long, too
    gc.freeze()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [], 1.0)
            if sys.stdin in ready:
                return
            if listener in ready:
                _accept(listener)
            _reap()


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return


def _accept(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        if os.fork() == 0:
            listener.close()
            try:
                _answer(connection)
            except BaseException:  # noqa: BLE001  else this would go on as the process that forks
                _show_error()
            _leave(0)


def _show_error() -> None:
    sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _answer(connection: socket.socket) -> None:
    """Run one command in another fork, and send its exit code; kill it if nobody waits for it."""
    request, files, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, 2)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _play(json.loads(request), files)
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, connection], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if ended in ready:
        connection.send(str(code).encode())


def _play(request: dict[str, object], files: list[int]) -> None:
    """Be the command."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for given, number in zip((nothing, *files), range(3), strict=True):
        os.dup2(given, number)
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    package = importlib.import_module(f"{request['package']}.__main__")
    sys.argv = [package.__file__, *request["words"]]  # type: ignore[misc]
    try:
        code = package.main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001  as an interpreter tells it
        _show_error()
        code = 1
    _leave(int(code or 0))


if __name__ == "__main__":
    serve(sys.argv[1])
