"""Files and folders on POSIX. What a job may have put in their place is never followed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    if sys.platform != "win32":  # the type checker reads this for both systems
        from sidecar.host.posix_users import User

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_MAX_ENTRIES = 4096


def protect_program(root: Path, user: User) -> None:
    """Let `user` write files into `root`, but let nobody replace its `bin/` and `externals/`.

    The folder becomes root's and sticky: the user's group may add entries, but it can neither
    rename nor remove entries that are root's.
    """
    os.chown(root, 0, user.gid)
    root.chmod(0o1775)
    _give_to_root(root / "bin")
    externals = root / "externals"
    # It has thousands of files: they are looked at once. Then the folder is root's.
    if externals.exists() and os.lstat(externals).st_uid != 0:
        _give_to_root(externals)


def _give_to_root(tree: Path) -> None:
    """Give everything in `tree` to root, the folder itself last."""
    for folder, _, names in os.walk(tree, topdown=False):
        for path in (*(os.path.join(folder, name) for name in names), folder):  # noqa: PTH118
            if os.lstat(path).st_uid != 0:
                os.chown(path, 0, 0, follow_symlinks=False)


def make_folder(path: Path, user: User | None) -> None:
    """Make the folder `path` if it is missing; if it is root's, give it to `user`."""
    path.mkdir(parents=True, exist_ok=True)
    if user is not None and os.lstat(path).st_uid == 0:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def remove_folder(path: Path) -> None:
    """Remove a folder with everything in it; a missing one is no error."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def make_private_folder(path: Path) -> None:
    """Make `path` an empty folder of this process that all can read; replace what was there."""
    remove_entry(path)
    path.mkdir()
    path.chmod(0o755)  # mkdir's own mode is cut by the umask


def make_fresh_folder(parent: Path, names: tuple[str, ...], user: User | None) -> Path:
    """Make a folder of a new name in `parent`, with the folders `names` in it, for `user` alone."""
    path = Path(tempfile.mkdtemp(dir=parent))
    folders = [path / name for name in names]
    for folder in folders:
        folder.mkdir(0o700)
    if user is not None:
        for folder in (*folders, path):  # last its own: until then nobody else can enter it
            os.chown(folder, user.uid, user.gid)
    return path


def make_folder_below(folder: Path, name: str, user: User | None) -> None:
    """Make the folder `name` in `folder` for `user` if it is missing; replace a link or a file."""
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=inside).st_mode):
                return
            os.unlink(name, dir_fd=inside)
        os.mkdir(name, 0o755, dir_fd=inside)
        if user is not None:
            os.chown(name, user.uid, user.gid, dir_fd=inside, follow_symlinks=False)
    finally:
        os.close(inside)


def remove_entry(path: Path) -> bool:
    """Remove the file, link or folder at `path`; return whether there was one."""
    return _remove_in(None, str(path))


def remove_below(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the entry that the path `names` leads to from `folder`; a missing one is no error.

    No link below `folder` is followed. A link on the way is removed itself: who reads this path
    later would follow it.
    """
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    *parents, last = names
    try:
        for name in parents:
            if (deeper := _open_in(inside, name)) is None:
                _remove_in(inside, name)
                return
            os.close(inside)
            inside = deeper
        _remove_in(inside, last)
    finally:
        os.close(inside)


def _open_in(inside: int, name: str) -> int | None:
    """Open the folder `name` of an open folder; None if there is none, but a link or a file."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _remove_in(inside: int | None, name: str) -> bool:
    """Remove what is called `name`, in an open folder if there is one; False if it is missing."""
    try:
        mode = os.lstat(name, dir_fd=inside).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        shutil.rmtree(name, dir_fd=inside)  # it follows no link in it
    else:
        os.unlink(name, dir_fd=inside)
    return True


def write_new(path: Path, content: bytes, mode: int, user: User | None) -> None:
    """Write `content` into a new file at `path`; what was there (a link, say) is replaced."""
    with suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        if user is not None:
            os.fchown(descriptor, user.uid, user.gid)
        file.write(content)


def read_regular(path: Path) -> tuple[bytes, int] | None:
    """Return content and mode of the regular file at `path`; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(), stat.S_IMODE(status.st_mode)


def read_below(folder: Path, names: tuple[str, ...], most: int) -> bytes:
    """Read the regular file that the path `names` leads to from `folder`. Raises OSError.

    A job's user may own everything below `folder`: links of both kinds, pipes and devices are not
    read, nor more than `most` bytes.
    """
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names[:-1]:
            deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=inside)
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
        content = bytearray()
        while chunk := file.read(most + 1 - len(content)):
            content += chunk
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is longer than {most} bytes")
    return bytes(content)


def read_newest(
    folder: Path, fits: Callable[[str], object], size: int, since: float
) -> tuple[str, bytes] | None:
    """Return name and last `size` bytes of the newest file in `folder` whose name `fits`.

    Names that fit contain their time, so the greatest name is the newest file. Returns None if it
    was last written before `since` (seconds since the epoch). A job may own the folder: links of
    both kinds, pipes and devices are not read, and only the first 4096 entries are looked at.
    """
    try:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
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


def is_own(path: Path) -> bool:
    """Whether this process's user owns `path` itself, not what a link leads to."""
    return path.lstat().st_uid == os.geteuid()


def is_own_folder(path: Path) -> bool:
    """Whether `path` itself is a folder of this process's user, not a link to one."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def is_protected(path: Path) -> bool:
    """Whether `path` is a regular file of this process's user that nobody else may write."""
    try:
        status = path.lstat()
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

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return FileLock(descriptor)
