"""Files on Windows, where agent and runner are one user."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from sidecar.host.win32 import access, removal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_PRIVATE, _READABLE = 0o600, 0o644
"""The modes that an access control list stands for: for this user alone, or as the folder's."""
_FOR_OTHERS = 0o077


def protect_program(root: Path, user: User) -> None:
    """Do nothing: there is no other user."""


def make_private_folder(path: Path) -> None:
    """Make `path` an empty folder; replace what was there."""
    removal.remove(path)
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


def write_new(path: Path, content: bytes, mode: int, user: User | None) -> None:
    """Write `content` into a new file at `path`; what was there is replaced, also a folder.

    A `mode` that gives others nothing makes a file for this user and SYSTEM alone; any other lets
    the folder decide.
    """
    del user
    removal.remove(path)
    if mode & _FOR_OTHERS:
        with path.open("xb") as file:
            file.write(content)
    else:
        with os.fdopen(access.create_private_file(path), "wb") as file:
            file.write(content)


def replace_file(path: Path, name: str) -> None:
    """Rename the file at `path` to `name`, in its folder; a folder of that name is removed."""
    target = path.with_name(name)
    if target.is_dir():
        removal.remove(target)
    path.replace(target)


def open_to_append(path: Path) -> int:
    """Open the file at `path` for lines that are added to its end."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_BINARY)


def read_regular(path: Path, most: int = 1 << 20) -> tuple[bytes, int] | None:
    """Return content and mode of the regular file at `path`; None if there is none.

    A file of more than `most` bytes counts as none.
    """
    try:
        if removal.is_link(path) or not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            return None
        return content, _PRIVATE if access.is_private(path) else _READABLE
    except OSError:
        return None


def read_given(path: Path, most: int = 1 << 20) -> bytes:
    """Read the file at `path`, which a setting names, but not more than `most` bytes.

    Raises OSError.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is longer than {most} bytes")
    return content


def read_for_user(path: Path, user: User | None, most: int = 1 << 20) -> bytes:
    """Read the file at `path`; here agent and runner are one user. Raises OSError."""
    del user
    return read_given(path, most)


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
