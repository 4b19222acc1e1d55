"""Remove, give away and copy whole folders that a job may have filled, or still fills.

One folder is open at a time: the depth of a tree costs neither stack nor descriptors. A folder that
is being removed becomes root's first, so that nobody adds to it any more: the work then ends,
whatever a job goes on writing.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sidecar.host.posix import paths

if TYPE_CHECKING:
    from collections.abc import Callable

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_MOST_RETRIES = 100
"""The new looks through a folder that something was added to meanwhile, at most."""
_BUFFER = 1 << 20
_DEEPEST = 64
"""Folders in one another that a program may have."""
Identity = tuple[int, int]


def never() -> bool:
    """Return False: the work is not to be given up."""
    return False


def remove_in(inside: int, name: str, stopped: Callable[[], bool] = never) -> bool:
    """Remove what is called `name` in an open folder; return False if it is missing.

    Goes on past what cannot be removed, then raises the first error. Raises TimeoutError as soon as
    `stopped` returns True.
    """
    try:
        mode = os.lstat(name, dir_fd=inside).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        _Removal(stopped).run(inside, name)
    else:
        os.unlink(name, dir_fd=inside)
    return True


class _Removal:
    """The removal of one tree."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._errors: list[OSError] = []
        self._retries = 0

    def run(self, inside: int, name: str) -> None:
        """Remove the folder `name` of an open folder, with everything in it. Raises OSError."""
        with suppress(FileNotFoundError):  # another process removed it
            while True:
                self._empty(inside, name)
                if self._errors:
                    raise self._errors[0]
                try:
                    os.rmdir(name, dir_fd=inside)
                except OSError as error:
                    if not self._may_retry(error):
                        raise
                else:
                    return

    def _empty(self, inside: int, name: str) -> None:
        here = _take(inside, name)
        above: list[tuple[str, Identity]] = []
        kept: list[set[str]] = [set()]
        """For each open level, the names of what cannot be removed."""
        try:
            while True:
                deeper = self._remove_files(here, kept[-1])
                if deeper is not None:
                    opened = self._try(_take, here, deeper, kept[-1])
                    if opened is not None:
                        above.append((deeper, _identify(here)))
                        kept.append(set())
                        os.close(here)
                        here = opened
                    continue
                if not above:
                    return
                last, holder = above.pop()
                kept.pop()
                here = _go_up(here, holder)
                self._try(_remove_folder, here, last, kept[-1])
        finally:
            os.close(here)

    def _remove_files(self, here: int, kept: set[str]) -> str | None:
        """Remove files from an open folder until a folder comes; return its name, None if none."""
        with os.scandir(here) as entries:
            for entry in entries:
                if self._stopped():
                    raise TimeoutError(errno.ETIMEDOUT, "there was no time to remove all of it")
                if entry.name in kept:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    return entry.name
                self._try(_remove_file, here, entry.name, kept)
        return None

    def _try(
        self, work: Callable[[int, str], int | None], here: int, name: str, kept: set[str]
    ) -> int | None:
        """Do `work` with an entry; one that cannot be removed is kept, and its error noted."""
        try:
            return work(here, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            if not self._may_retry(error):
                kept.add(name)
                self._errors.append(error)
            return None

    def _may_retry(self, error: OSError) -> bool:
        """Say whether to look again: something was added, or a file became a folder."""
        self._retries += 1
        added = error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
        return added and not self._errors and self._retries <= _MOST_RETRIES


def _remove_file(here: int, name: str) -> None:
    os.unlink(name, dir_fd=here)


def _remove_folder(here: int, name: str) -> None:
    os.rmdir(name, dir_fd=here)


def _take(inside: int, name: str) -> int:
    """Open a folder and make it this process's alone: then nobody else can add to it."""
    try:
        folder = os.open(name, paths.FOLDER, dir_fd=inside)
    except PermissionError:  # without root's rights, a closed folder must be opened first
        os.chmod(name, 0o700, dir_fd=inside)
        folder = os.open(name, paths.FOLDER, dir_fd=inside)
    with suppress(OSError):  # without the right to do so, it is emptied as it is
        status = os.fstat(folder)
        if os.geteuid() == 0 and status.st_uid != 0:
            os.fchown(folder, 0, 0)
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(folder, 0o700)
    return folder


def _identify(folder: int) -> Identity:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _go_up(here: int, holder: Identity) -> int:
    """Close a folder and return the one that holds it; raises OSError if it was moved elsewhere."""
    up = os.open("..", paths.FOLDER, dir_fd=here)
    if _identify(up) != holder:
        os.close(up)
        raise OSError(errno.EBUSY, "a folder was moved while it was removed")
    os.close(here)
    return up


def give_to_root(inside: int, name: str) -> None:
    """Give everything in the folder `name` of an open folder to root, the folder itself last.

    Raises OSError; ENAMETOOLONG for folders that are deeper in one another than a program's are.
    """
    to_do: list[tuple[str, ...]] = [(name,)]
    while to_do:
        steps = to_do.pop()
        if len(steps) > _DEEPEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
        here = _open_below(inside, steps)
        try:
            if len(steps) > 1:
                _give_entry(here, ".")
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        to_do.append((*steps, entry.name))
                    else:
                        _give_entry(here, entry.name)
        finally:
            os.close(here)
    _give_entry(inside, name)


def _open_below(inside: int, steps: tuple[str, ...]) -> int:
    """Open the folder that `steps` lead to from an open folder; no link is followed."""
    here = os.dup(inside)
    for step in steps:
        try:
            deeper = os.open(step, paths.FOLDER, dir_fd=here)
        finally:
            os.close(here)
        here = deeper
    return here


def _give_entry(inside: int, name: str) -> None:
    if os.lstat(name, dir_fd=inside).st_uid != 0:
        os.chown(name, 0, 0, dir_fd=inside, follow_symlinks=False)


def copy_tree(inside: int, name: str, there: int, new: str) -> None:
    """Copy the folder `name` of an open folder to `new` in the folder `there`; links stay links.

    Raises OSError, also for a file of another user that has a second name: it may be one that this
    user must not read.
    """
    copied = False
    for path, folders, names, here in os.fwalk(name, onerror=_fail, dir_fd=inside):
        steps = (new, *PurePosixPath(path).parts[1:])
        target = _make_copy(there, steps, stat.S_IMODE(os.fstat(here).st_mode))
        copied = True
        try:
            for entry in (*names, *folders):
                _copy_entry(here, entry, target)
        finally:
            os.close(target)
    if not copied:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)


def _fail(error: OSError) -> None:
    raise error


def _make_copy(there: int, steps: tuple[str, ...], mode: int) -> int:
    """Make the last of `steps` below the folder `there`, and open it."""
    here = _open_below(there, steps[:-1])
    try:
        os.mkdir(steps[-1], 0o700, dir_fd=here)
        made = os.open(steps[-1], paths.FOLDER, dir_fd=here)
    finally:
        os.close(here)
    os.fchmod(made, mode)
    return made


def _copy_entry(here: int, name: str, target: int) -> None:
    """Copy a file or a link; a folder is copied when it is walked."""
    mode = os.lstat(name, dir_fd=here).st_mode
    if stat.S_ISDIR(mode):
        return
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=target)
        return
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(name, flags, dir_fd=here), "rb") as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode) or (
            status.st_nlink != 1 and not paths.is_trusted(status)
        ):
            raise OSError(errno.EINVAL, "it is not a regular file of one name", name)
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(name, create, 0o600, dir_fd=target), "wb") as copy:
            shutil.copyfileobj(source, copy, _BUFFER)
            copy.flush()
            os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
            os.utime(copy.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
