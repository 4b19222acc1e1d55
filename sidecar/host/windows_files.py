"""Files and folders on Windows, where agent and runner are one user."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sidecar.host.win32 import access

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_PRIVATE, _READABLE = 0o600, 0o644
"""The modes that an access control list stands for: for this user alone, or as the folder's."""
_FOR_OTHERS = 0o077
_ATTEMPTS, _PAUSE = 10, 0.05
"""The tries for a file that is still in use, and the seconds between two of them.

A killed process keeps its files for a moment, and so does a virus scanner.
"""
_IN_USE = (5, 32, 145)
"""Access denied, used by another process, folder not empty (an entry of it is still going away)."""


def protect_program(root: Path, user: User) -> None:
    """Do nothing: there is no other user."""


def make_folder(path: Path, user: User | None) -> None:
    """Make the folder `path` if it is missing."""
    del user
    path.mkdir(parents=True, exist_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with everything in it; a missing one is no error."""
    with suppress(FileNotFoundError):
        _remove_tree(path)


def make_private_folder(path: Path) -> None:
    """Make `path` an empty folder; replace what was there."""
    remove_entry(path)
    path.mkdir()


def make_fresh_folder(parent: Path, names: tuple[str, ...], user: User | None) -> Path:
    """Make a folder of a new name in `parent`, with the folders `names` in it, for us alone."""
    del user
    import secrets

    path = parent / f"home-{secrets.token_hex(8)}"
    access.create_private_folder(path)
    for name in names:
        (path / name).mkdir()
    return path


def make_folder_below(folder: Path, name: str, user: User | None) -> None:
    """Make the folder `name` in `folder` if it is missing."""
    del user
    (folder / name).mkdir(exist_ok=True)


def remove_entry(path: Path) -> bool:
    """Remove the file, link or folder at `path`; return whether there was one."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode) and not _is_link(path):
        _remove_tree(path)
    else:
        _remove_file(path)
    return True


def _is_link(path: Path) -> bool:
    """Whether `path` is a link of any kind: a junction is one to a folder."""
    try:
        return bool(path.lstat().st_reparse_tag)
    except FileNotFoundError:
        return False


def _remove_file(path: Path) -> None:
    """Remove a file or a link, read-only or not; wait a moment if it is still in use."""
    _retry(os.unlink, str(path))


def _remove_tree(path: Path) -> None:
    """Remove a folder with everything in it; links in it are removed, not followed."""
    if _is_link(path):
        _remove_file(path)
    elif sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=lambda remove, name, _: _retry(remove, name))
    else:
        shutil.rmtree(path, onerror=lambda remove, name, _: _retry(remove, name))


def _retry(remove: Callable[..., object], name: str) -> None:
    """Remove an entry, which may be read-only, as git's packs are, or still be in use."""
    for attempt in range(_ATTEMPTS, -1, -1):
        try:
            with suppress(FileNotFoundError):
                remove(name)
        except OSError as error:
            if not attempt or error.winerror not in _IN_USE:
                raise
            with suppress(OSError):
                os.chmod(name, stat.S_IWRITE)  # noqa: PTH101
            if attempt < _ATTEMPTS:  # at first it may only be read-only
                time.sleep(_PAUSE)
        else:
            return


def remove_below(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the entry that the path `names` leads to from `folder`; a missing one is no error.

    A link on the way is removed itself.
    """
    path = folder
    for name in names[:-1]:
        path /= name
        if _is_link(path):
            remove_entry(path)
            return
    remove_entry(path / names[-1])


def write_new(path: Path, content: bytes, mode: int, user: User | None) -> None:
    """Write `content` into a new file at `path`; what was there is replaced.

    A `mode` that gives others nothing makes a file for this user and SYSTEM alone; any other lets
    the folder decide.
    """
    del user
    with suppress(FileNotFoundError):
        _remove_file(path)
    if mode & _FOR_OTHERS:
        with path.open("xb") as file:
            file.write(content)
    else:
        with os.fdopen(access.create_private_file(path), "wb") as file:
            file.write(content)


def read_regular(path: Path) -> tuple[bytes, int] | None:
    """Return content and mode of the regular file at `path`; None if there is none."""
    try:
        if _is_link(path) or not path.is_file():
            return None
        return path.read_bytes(), _PRIVATE if access.is_private(path) else _READABLE
    except OSError:
        return None


def read_below(folder: Path, names: tuple[str, ...], most: int) -> bytes:
    """Read the file that the path `names` leads to from `folder`. Raises OSError.

    No link below `folder` is followed, and no more than `most` bytes are read.
    """
    path = folder.resolve()
    for name in names:
        path /= name
        if path.resolve() != path:
            raise OSError(f"{name} is a link")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"it is longer than {most} bytes")
    return content


def read_newest(
    folder: Path, fits: Callable[[str], object], size: int, since: float
) -> tuple[str, bytes] | None:
    """Return name and last `size` bytes of the newest file in `folder` whose name `fits`.

    Names that fit contain their time, so the greatest name is the newest file. Returns None if it
    was last written before `since` (seconds since the epoch).
    """
    try:
        newest = max((path for path in folder.iterdir() if fits(path.name)), default=None)
        if newest is None or not newest.is_file() or newest.stat().st_mtime < since:
            return None
        with newest.open("rb") as file:
            file.seek(max(0, newest.stat().st_size - size))
            return newest.name, file.read(size)
    except OSError:
        return None


def is_own(path: Path) -> bool:
    """Whether `path` exists: here agent and runner are one user."""
    return path.exists()


def is_own_folder(path: Path) -> bool:
    """Whether `path` is a folder: here agent and runner are one user."""
    return path.is_dir()


def is_protected(path: Path) -> bool:
    """Whether `path` is a file: here agent and runner are one user."""
    return path.is_file()


class FileLock:
    """A lock that locks nothing: no folder is shared with a daemon here."""

    def close(self) -> None:
        """Do nothing."""


def lock_file(path: Path) -> FileLock | None:
    """Make the file if it is missing, and lock nothing."""
    path.touch()
    return FileLock()
