"""Sockets that are files, on POSIX; the docker proxy listens and connects by them."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from sidecar.host.posix import paths

if TYPE_CHECKING:
    from pathlib import Path

    if sys.platform != "win32":  # the type checker reads this for both systems
        from sidecar.host.posix_users import User

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

DOCKER_PLACE = "/var/run/docker.sock"
"""Where docker listens, and its clients look, unless DOCKER_HOST says otherwise."""


def find_docker(path: Path) -> str | None:
    """Return the DOCKER_HOST for a daemon whose socket is at `path`; None if there is none."""
    return f"unix://{path}" if path.exists() else None


def listen_at(path: Path, user: User | None, backlog: int) -> socket.socket:
    """Listen at `path`, for root and the group of `user`; a socket without a listener is replaced.

    The socket has its owner before it appears at `path`. Raises OSError; EADDRINUSE if another
    listener, or a file that is no socket, is there.
    """
    if _is_in_use(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        fresh.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(fresh))
        made.listen(backlog)
        made.setblocking(False)
        _give_name(fresh.name, path, user)
    except OSError:
        made.close()
        with suppress(OSError):
            fresh.unlink()
        raise
    return made


def _give_name(fresh: str, path: Path, user: User | None) -> None:
    """Give the socket `fresh` its group and mode, then its name; no link of a job's is followed."""
    with paths.open_parent(path) as (inside, name):
        if not stat.S_ISSOCK(os.lstat(fresh, dir_fd=inside).st_mode):
            raise OSError(errno.EINVAL, "another file was put in its place", fresh)
        if user is not None:
            os.chown(fresh, 0, user.gid, dir_fd=inside, follow_symlinks=False)
        os.chmod(fresh, 0o660, dir_fd=inside)
        os.rename(fresh, name, src_dir_fd=inside, dst_dir_fd=inside)


def _is_in_use(path: Path) -> bool:
    """Whether a listener is at `path`, or a file that is no socket."""
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


def connect_to(path: Path) -> socket.socket:
    """Connect to the listener at `path`; the socket never blocks. Raises OSError.

    BlockingIOError if the listener's queue is full: try again then.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made


def is_closed_by_peer(sock: socket.socket) -> bool:
    """Whether the other end is closed for reading too, not only done with writing."""
    import select

    poll = select.poll()
    poll.register(sock, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def shut_down_writing(sock: socket.socket) -> None:
    """Shut down the writing side; a closed other end is no error."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


class SplicePipe:
    """A kernel pipe that carries bytes between two sockets without copying them (splice(2))."""

    def __init__(self, size: int) -> None:
        import fcntl

        self.filled = 0
        """Bytes in the pipe."""
        self._out, self._in = os.pipe()
        with suppress(
            AttributeError, OSError
        ):  # the kernel refuses where many are open: only slower
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, size)

    def fill(self, source: socket.socket, most: int) -> int:
        """Take up to `most` bytes from `source`; return how many, 0 at its end. Raises OSError."""
        self.filled = os.splice(source.fileno(), self._in, most, flags=_SPLICE)
        return self.filled

    def drain(self, target: socket.socket) -> bool:
        """Send the bytes in the pipe to `target`; return whether all went. Raises OSError."""
        try:
            while self.filled:
                self.filled -= os.splice(self._out, target.fileno(), self.filled, flags=_SPLICE)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close the pipe; the bytes in it are lost."""
        os.close(self._in)
        os.close(self._out)


_SPLICE = 0x1 | 0x2
"""SPLICE_F_MOVE and SPLICE_F_NONBLOCK."""


def make_splice_pipe(size: int) -> SplicePipe | None:
    """Make a pipe; None where the system has no splice, or has no more pipes."""
    if not hasattr(os, "splice"):
        return None
    try:
        return SplicePipe(size)
    except OSError:
        return None


def may_connect(path: Path, user: User | None) -> bool:
    """Whether `user`, or this process if None, may connect to a socket. Raises OSError."""
    if user is None:
        return os.access(path, os.W_OK)
    status = path.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IWUSR)
    if status.st_gid in (user.gid, *user.groups):
        return bool(status.st_mode & stat.S_IWGRP)
    return bool(status.st_mode & stat.S_IWOTH)
