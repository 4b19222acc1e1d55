"""Files on POSIX. What a job may have put in their place, or on the way, is never followed."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from sidecar.host.posix import paths, trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from pathlib import Path

    if sys.platform != "win32":  # the type checker reads this for both systems
        from sidecar.host.posix_users import User

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_MAX_ENTRIES = 4096


def protect_program(root: Path, user: User) -> None:
    """Let `user` write files into `root`, but let nobody replace its `bin/` and `externals/`.

    The folder becomes root's and sticky: the user's group may add entries, but it can neither
    rename nor remove entries that are root's.
    """
    with paths.open_parent(root / "bin") as (inside, program):
        os.chown(".", 0, user.gid, dir_fd=inside)
        os.chmod(".", 0o1775, dir_fd=inside)  # noqa: S103
        if not stat.S_ISLNK(os.lstat(program, dir_fd=inside).st_mode):  # an image may have a link
            trees.give_to_root(inside, program)
        # It has thousands of files: they are looked at once. Then the folder is root's.
        try:
            status = os.lstat("externals", dir_fd=inside)
            if status.st_uid != 0 and stat.S_ISDIR(status.st_mode):
                trees.give_to_root(inside, "externals")
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            trees.remove_in(inside, "externals")  # a job made it: no program is so deep


def make_private_folder(path: Path) -> None:
    """Make `path` an empty folder of this process that all can read; replace what was there."""
    with paths.open_parent(path) as (inside, name):
        trees.remove_in(inside, name)
        os.mkdir(name, dir_fd=inside)
        made = os.open(name, paths.FOLDER, dir_fd=inside)
        try:
            os.fchmod(made, 0o755)  # mkdir's own mode is cut by the umask
        finally:
            os.close(made)


def make_fresh_folder(parent: Path, names: tuple[str, ...], user: User | None) -> Path:
    """Make a folder of a new name in `parent`, with the folders `names` in it, for `user` alone."""
    path = parent / f"home-{os.urandom(8).hex()}"
    with paths.open_parent(path) as (inside, own):
        os.mkdir(own, 0o700, dir_fd=inside)
        made = os.open(own, paths.FOLDER, dir_fd=inside)
    try:
        for name in names:
            os.mkdir(name, 0o700, dir_fd=made)
        if user is not None:
            for name in (*names, "."):  # last its own: until then nobody else can enter it
                os.chown(name, user.uid, user.gid, dir_fd=made, follow_symlinks=False)
    finally:
        os.close(made)
    return path


def write_new(path: Path, content: bytes, mode: int, user: User | None) -> None:
    """Write `content` into a new file at `path`; what was there is replaced, also a folder."""
    with paths.open_parent(path) as (inside, name):
        trees.remove_in(inside, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(name, flags, mode, dir_fd=inside)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                if user is not None:
                    os.fchown(descriptor, user.uid, user.gid)
                file.write(content)
        except OSError:  # the disk is full: half a file is worse than none
            with suppress(OSError):
                os.unlink(name, dir_fd=inside)
            raise


def replace_file(path: Path, name: str) -> None:
    """Rename the file at `path` to `name`, in its folder; a folder of that name is removed."""
    with paths.open_parent(path) as (inside, last):
        try:
            os.rename(last, name, src_dir_fd=inside, dst_dir_fd=inside)
        except IsADirectoryError:
            trees.remove_in(inside, name)
            os.rename(last, name, src_dir_fd=inside, dst_dir_fd=inside)


def open_to_append(path: Path) -> int:
    """Open the file at `path` for lines that are added to its end; no link is followed."""
    with paths.open_parent(path) as (inside, name):
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(name, flags, dir_fd=inside)


def read_regular(path: Path, most: int = 1 << 20) -> tuple[bytes, int] | None:
    """Return content and mode of the regular file at `path`; None if there is none.

    A file of more than `most` bytes counts as none: a job can make one of any size that takes no
    room on the disk.
    """
    try:
        with paths.open_parent(path) as (inside, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(name, flags, dir_fd=inside)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            status = os.fstat(descriptor)
            content = _read(file, most) if stat.S_ISREG(status.st_mode) else None
    except OSError:
        return None
    return None if content is None else (content, stat.S_IMODE(status.st_mode))


def read_given(path: Path, most: int = 1 << 20) -> bytes:
    """Read the regular file at `path`, which a setting names. Raises OSError.

    It may be in a folder that a job's user owns: a link is followed only if root or this process's
    user made it, in a folder of theirs, and no more than `most` bytes are read.
    """
    descriptor = paths.open_file(path)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return _read(file, most)


def read_for_user(path: Path, user: User | None, most: int = 1 << 20) -> bytes:
    """Read the regular file at `path` if `user` may read it, to give it to that user.

    A link is followed as by `read_given`. Raises OSError.
    """
    descriptor = paths.open_file(path)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if user is not None and not _may_read(status, user):
            raise PermissionError(errno.EACCES, f"{user.name} may not read it")
        return _read(file, most)


def _may_read(status: os.stat_result, user: User) -> bool:
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IRUSR)
    if status.st_gid in (user.gid, *user.groups):
        return bool(status.st_mode & stat.S_IRGRP)
    return bool(status.st_mode & stat.S_IROTH)


def _read(file: FileIO, most: int) -> bytes:
    """Read a file to its end. Raises OSError if it has more than `most` bytes."""
    content = bytearray()
    while chunk := file.read(most + 1 - len(content)):
        content += chunk
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is longer than {most} bytes")
    return bytes(content)


def read_below(folder: Path, names: tuple[str, ...], most: int) -> bytes:
    """Read the regular file that the path `names` leads to from `folder`. Raises OSError.

    A job's user may own everything below `folder`: links of both kinds, pipes and devices are not
    read, nor more than `most` bytes.
    """
    inside = paths.open_folder(folder)
    try:
        for name in names[:-1]:
            deeper = os.open(name, paths.FOLDER, dir_fd=inside)
            os.close(inside)
            inside = deeper
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(names[-1], flags, dir_fd=inside)
    finally:
        os.close(inside)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, "it is not a regular file of one name")
        return _read(file, most)


def read_newest(
    folder: Path, fits: Callable[[str], object], size: int, since: float
) -> tuple[str, bytes] | None:
    """Return name and last `size` bytes of the newest file in `folder` whose name `fits`.

    Names that fit contain their time, so the greatest name is the newest file. Returns None if it
    was last written before `since` (seconds since the epoch). A job may own the folder: links of
    both kinds, pipes and devices are not read, and only the first 4096 entries are looked at.
    """
    try:
        with paths.open_parent(folder) as (parent, name):
            inside = os.open(name, paths.FOLDER, dir_fd=parent)
    except OSError:
        return None
    try:
        with os.scandir(inside) as entries:
            names = [entry.name for entry in islice(entries, _MAX_ENTRIES) if fits(entry.name)]
        if not names:
            return None
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(max(names), flags, dir_fd=inside)
        with os.fdopen(descriptor, "rb", buffering=0):
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_mtime < since:
                return None
            return max(names), os.pread(descriptor, size, max(0, status.st_size - size))
    except OSError:
        return None
    finally:
        os.close(inside)


def _look_at(path: Path) -> os.stat_result:
    with paths.open_parent(path) as (inside, name):
        return os.lstat(name, dir_fd=inside)


def is_own(path: Path) -> bool:
    """Whether this process's user owns `path` itself, not what a link leads to."""
    return _look_at(path).st_uid == os.geteuid()


def is_own_folder(path: Path) -> bool:
    """Whether `path` itself is a folder of this process's user, not a link to one."""
    try:
        status = _look_at(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def is_protected(path: Path) -> bool:
    """Whether `path` is a regular file of this process's user that nobody else may write."""
    try:
        status = _look_at(path)
    except OSError:
        return False
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not writable


class FileLock:
    """A lock that ends with the process, however the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


def lock_file(path: Path) -> FileLock | None:
    """Lock a file, which is made if missing; None if another process holds it. Raises OSError."""
    import fcntl

    with paths.open_parent(path) as (inside, name):
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=inside)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return FileLock(descriptor)
