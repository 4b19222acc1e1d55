"""Sockets that are files: docker uses none on Windows, so there is no proxy."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

DOCKER_PLACE = r"\\.\pipe\docker_engine"
"""Where docker listens, and its clients look, unless DOCKER_HOST says otherwise: a named pipe."""

_ALL_BUSY = 121
"""The error of waiting for a pipe that is there, but has clients enough for now."""


def find_docker(path: Path) -> str | None:
    """Return the DOCKER_HOST for a daemon whose named pipe is `path`; None if there is none.

    It is not opened, as `exists` would do: the daemon would take that for a client.
    """
    import ctypes

    wait = ctypes.WinDLL("kernel32", use_last_error=True).WaitNamedPipeW
    if wait(ctypes.c_wchar_p(str(path)), 1) or ctypes.get_last_error() == _ALL_BUSY:
        return f"npipe://{path.as_posix()}"
    return None


def listen_at(path: Path, user: User | None, backlog: int) -> socket.socket:  # noqa: ARG001
    """Raise OSError: docker has a named pipe here, and there is no proxy before it."""
    raise _no_sockets(path)


def connect_to(path: Path) -> socket.socket:
    """Raise OSError."""
    raise _no_sockets(path)


def _no_sockets(path: Path) -> OSError:
    return OSError(errno.EAFNOSUPPORT, "there are no sockets in files here", str(path))


def is_closed_by_peer(sock: socket.socket) -> bool:  # noqa: ARG001
    """Whether the other end is closed."""
    return True


def shut_down_writing(sock: socket.socket) -> None:
    """Shut down the writing side; a closed other end is no error."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


class SplicePipe:
    """A pipe between two sockets: Windows has none."""

    filled = 0

    def fill(self, source: socket.socket, most: int) -> int:  # noqa: ARG002
        """Take nothing; return 0."""
        return 0

    def drain(self, target: socket.socket) -> bool:  # noqa: ARG002
        """Send nothing; return True."""
        return True

    def close(self) -> None:
        """Do nothing."""


def make_splice_pipe(size: int) -> SplicePipe | None:  # noqa: ARG001
    """Return None: Windows has no splice."""
    return None


def may_connect(path: Path, user: User | None) -> bool:  # noqa: ARG001
    """Whether `user` may connect: here agent and runner are one user."""
    return True
