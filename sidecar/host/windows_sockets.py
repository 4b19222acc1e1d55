"""Sockets in the file system: Windows has none that docker would listen at, and so no proxy."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.host import Identity

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def listener(path: Path, user: Identity | None, backlog: int) -> socket.socket:  # noqa: ARG001
    """Do not listen: docker has a pipe here, and no proxy stands before it."""
    raise _no_sockets(path)


def dialled(path: Path) -> socket.socket:
    """Connect to nobody."""
    raise _no_sockets(path)


def _no_sockets(path: Path) -> OSError:
    return OSError(errno.EAFNOSUPPORT, "there are no sockets in files here", str(path))


def hung_up(sock: socket.socket) -> bool:  # noqa: ARG001
    """Whether the other end is closed."""
    return True


def shut_writing(sock: socket.socket) -> None:
    """Send an end; that the other end is closed is no error."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


class Conduit:
    """Bytes on their way from one socket to another: there is no such thing here."""

    filled = 0

    def fill(self, source: socket.socket, most: int) -> int:  # noqa: ARG002
        """Take nothing."""
        return 0

    def drain(self, target: socket.socket) -> bool:  # noqa: ARG002
        """Give nothing."""
        return True

    def close(self) -> None:
        """Do nothing."""


def conduit(size: int) -> Conduit | None:  # noqa: ARG001
    """Make none."""
    return None


class Lock:
    """A lock that nobody needs here."""

    def close(self) -> None:
        """Let go of it."""


def locked(path: Path) -> Lock | None:
    """Lock nothing: no folder is shared with a daemon here."""
    path.touch()
    return Lock()


def may_use(path: Path, user: Identity | None) -> bool:  # noqa: ARG001
    """Whether `user` may connect: here agent and runner are one user."""
    return True
