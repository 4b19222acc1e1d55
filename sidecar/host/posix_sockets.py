"""Sockets, and locks, that have a place in the file system; POSIX."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sidecar.host import Identity

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is


def listener(path: Path, user: Identity | None, backlog: int) -> socket.socket:
    """Listen at `path`, for root and the group of `user`; what nobody listens at is replaced.

    It has its owner before anybody can find it. Raises OSError; EADDRINUSE if somebody is there.
    """
    if _answers(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        fresh.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(fresh))
        if user is not None:
            os.chown(fresh, 0, user.gid)
        fresh.chmod(0o660)
        made.listen(backlog)
        made.setblocking(False)
        fresh.rename(path)
    except OSError:
        made.close()
        with suppress(OSError):
            fresh.unlink()
        raise
    return made


def _answers(path: Path) -> bool:
    """Whether somebody listens at `path`, or what stands there is no socket at all."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return True
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        return True
    return True


def dialled(path: Path) -> socket.socket:
    """Connect to who listens at `path`; the socket never blocks. Raises OSError.

    BlockingIOError if so many wait already that it has to be tried again.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made


def hung_up(sock: socket.socket) -> bool:
    """Whether the other end is closed, and not only silent for good."""
    import select

    poll = select.poll()
    poll.register(sock, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def shut_writing(sock: socket.socket) -> None:
    """Send an end; that the other end is closed is no error."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


class Conduit:
    """Pages on their way from one socket to another, which this process never sees (splice(2))."""

    def __init__(self, size: int) -> None:
        import fcntl

        self.filled = 0
        """Bytes that are in it."""
        self._out, self._in = os.pipe()
        with suppress(AttributeError, OSError):  # smaller where many are open; only slower
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, size)

    def fill(self, source: socket.socket, most: int) -> int:
        """Take up to `most` bytes that are there; 0 at the end. Raises OSError."""
        self.filled = os.splice(source.fileno(), self._in, most, flags=_SPLICE)
        return self.filled

    def drain(self, target: socket.socket) -> bool:
        """Give on what is taken; whether that was all. Raises OSError."""
        try:
            while self.filled:
                self.filled -= os.splice(self._out, target.fileno(), self.filled, flags=_SPLICE)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Drop it with what is in it."""
        os.close(self._in)
        os.close(self._out)


_SPLICE = 0x1 | 0x2
"""SPLICE_F_MOVE and SPLICE_F_NONBLOCK."""


def conduit(size: int) -> Conduit | None:
    """Make one; None where the system has no splice, or no pipe to give."""
    if not hasattr(os, "splice"):
        return None
    try:
        return Conduit(size)
    except OSError:
        return None


class Lock:
    """A lock that ends with the process, however that ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)


def locked(path: Path) -> Lock | None:
    """Lock a file, made if need be; None if another process holds it. Raises OSError."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Lock(descriptor)


def may_use(path: Path, user: Identity | None) -> bool:
    """Whether `user`, or this process if None, may connect to a socket. Raises OSError."""
    if user is None:
        return os.access(path, os.W_OK)
    status = path.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IWUSR)
    if status.st_gid in (user.gid, *user.groups):
        return bool(status.st_mode & stat.S_IWGRP)
    return bool(status.st_mode & stat.S_IWOTH)
