"""Files and folders on Windows, where agent and runner are one user."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def protect_program(root: Path, user: User) -> None:
    """Do nothing: there is no other user."""


def make_folder(path: Path, user: User | None) -> None:
    """Make the folder `path` if it is missing."""
    del user
    path.mkdir(parents=True, exist_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with everything in it; a missing one is no error."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def make_private_folder(path: Path) -> None:
    """Make `path` an empty folder; replace what was there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.mkdir()


def make_fresh_folder(parent: Path, names: tuple[str, ...], user: User | None) -> Path:
    """Make a folder of a new name in `parent`, with the folders `names` in it."""
    del user
    path = Path(tempfile.mkdtemp(dir=parent))
    for name in names:
        (path / name).mkdir()
    return path


def make_folder_below(folder: Path, name: str, user: User | None) -> None:
    """Make the folder `name` in `folder` if it is missing."""
    del user
    (folder / name).mkdir(exist_ok=True)


def remove_entry(path: Path) -> bool:
    """Remove the file, link or folder at `path`; return whether there was one."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        return False
    return True


def remove_below(folder: Path, names: tuple[str, ...]) -> None:
    """Remove the entry that the path `names` leads to from `folder`; a missing one is no error.

    A link on the way is removed itself.
    """
    path = folder
    for name in names[:-1]:
        path /= name
        if path.is_symlink():
            remove_entry(path)
            return
    remove_entry(path / names[-1])


def write_new(path: Path, content: bytes, mode: int, user: User | None) -> None:
    """Write `content` into a new file at `path`; what was there is replaced."""
    del mode, user
    with suppress(FileNotFoundError):
        path.unlink()
    with path.open("xb") as file:
        file.write(content)


def read_regular(path: Path) -> tuple[bytes, int] | None:
    """Return content and mode of the regular file at `path`; None if there is none."""
    try:
        return (path.read_bytes(), 0o600) if path.is_file() else None
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
