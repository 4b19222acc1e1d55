"""Open folders step by step, so that no link of a job's leads root's file work elsewhere.

Who owns one folder of a path can put a link in the place of the next. So no whole path is given to
the kernel: each step is opened by its name in the folder before it, with O_NOFOLLOW, and the work
is done in the open folder.

A link is followed only if root or this process's user made it, in a folder of theirs: `/var/run` is
one, and an image may have one in the place of the work folder.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
"""A folder on the way: it need not be readable."""
_MOST_LINKS = 40


def open_folder(path: Path, mend: Callable[[int, str], None] | None = None) -> int:
    """Open the folder at `path`, to work in it; the caller closes it.

    `mend` is called once for a step that is missing, or no folder, with the open folder before it
    and the step's name. Raises OSError; ELOOP for a link that a job may have made.
    """
    absolute = path.absolute()  # without a look at links
    return open_steps(os.open("/", _STEP), absolute.parts[1:], mend)


def open_steps(
    inside: int, names: Iterable[str], mend: Callable[[int, str], None] | None = None
) -> int:
    """Go from the open folder `inside`, which is closed, along `names`; return the last folder."""
    to_do, links, mended = list(names)[::-1], 0, False
    try:
        while to_do:
            name = to_do.pop()
            try:
                deeper = os.open(name, _STEP, dir_fd=inside)
            except OSError as error:
                target = _read_link(inside, name)
                if target is not None and links < _MOST_LINKS:
                    links += 1
                    to_do.extend(PurePosixPath(target).parts[::-1])
                elif mend is not None and not mended and _is_mendable(error):
                    mend(inside, name)
                    mended = True
                    to_do.append(name)
                else:
                    raise _explain(error, inside, name) from error
            else:
                os.close(inside)
                inside, mended = deeper, False
    except BaseException:
        os.close(inside)
        raise
    return inside


def _is_mendable(error: OSError) -> bool:
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def _explain(error: OSError, inside: int, name: str) -> OSError:
    with suppress(OSError):
        if stat.S_ISLNK(os.lstat(name, dir_fd=inside).st_mode):
            return OSError(errno.ELOOP, f"{name} is a link that a job may have made", name)
    return error


def _read_link(inside: int, name: str) -> str | None:
    """Return where a link leads; None if it is no link, or may be a job's."""
    try:
        status = os.lstat(name, dir_fd=inside)
    except OSError:
        return None
    if not stat.S_ISLNK(status.st_mode) or not is_trusted(status):
        return None
    holder = os.fstat(inside)
    open_to_all = holder.st_mode & stat.S_IWOTH and not holder.st_mode & stat.S_ISVTX
    if not is_trusted(holder) or open_to_all:  # a job may have moved the link here
        return None
    return os.readlink(name, dir_fd=inside)


def is_trusted(status: os.stat_result) -> bool:
    """Return whether root or this process's user owns what has this status."""
    return status.st_uid in (0, os.geteuid())


@contextmanager
def open_parent(path: Path) -> Iterator[tuple[int, str]]:
    """Open the folder that holds `path`; yield it and the last name. Raises OSError."""
    inside = open_folder(path.parent)
    try:
        yield inside, path.name
    finally:
        os.close(inside)


def open_file(path: Path) -> int:
    """Open the file at `path` to read it; a link in its place is followed like one on the way.

    A pipe is not waited for. Raises OSError; ELOOP for a link that a job may have made.
    """
    for _ in range(_MOST_LINKS):
        with open_parent(path) as (inside, name):
            if (target := _read_link(inside, name)) is None:
                try:
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                    return os.open(name, flags, dir_fd=inside)
                except OSError as error:
                    raise _explain(error, inside, name) from error
        path = path.parent / target
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def open_in(inside: int, name: str) -> int | None:
    """Open the folder `name` of an open folder; None if there is none, but a link or a file."""
    try:
        return os.open(name, FOLDER, dir_fd=inside)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def make_fifo(path: Path, uid: int, gid: int, mode: int) -> int:
    """Make a FIFO with this owner and open it for both directions, which never blocks.

    An owner of -1 stays this process's user. Raises OSError.
    """
    with open_parent(path) as (inside, name):
        os.mkfifo(name, 0o600, dir_fd=inside)
        flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(name, flags, dir_fd=inside)
    status = os.fstat(descriptor)
    if not stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
        os.close(descriptor)
        raise OSError(errno.EINVAL, "another file was put in its place", str(path))
    try:
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
