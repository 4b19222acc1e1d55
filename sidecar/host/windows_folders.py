"""Folders on Windows, where agent and runner are one user."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from typing import TYPE_CHECKING

from sidecar.host.win32 import removal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    if sys.platform == "win32":  # the type checker reads this for both systems
        from sidecar.host.windows_users import User

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def _never() -> bool:
    return False


def make_folder(path: Path, user: User | None) -> None:
    """Make the folder `path` if it is missing."""
    del user
    path.mkdir(parents=True, exist_ok=True)


def mend_folder(folder: Path, names: tuple[str, ...], user: User | None) -> bool:
    """Remove what is no folder but stands on the path `names` below `folder`.

    A link to a folder is kept. Returns whether something was removed. Raises OSError.
    """
    del user
    path = folder
    for name in names:
        path /= name
        if not path.is_dir():
            return removal.remove(path)
    return False


def keep_link(path: Path) -> None:
    """Do nothing: there is no other user."""


def make_folder_below(folder: Path, name: str, user: User | None) -> None:
    """Make the folder `name` in `folder` if it is missing."""
    del user
    (folder / name).mkdir(exist_ok=True)


def remove_folder(path: Path, stopped: Callable[[], bool] = _never) -> None:
    """Remove a folder with everything in it; a missing one is no error.

    Raises OSError; TimeoutError if `stopped` returns True before it begins.
    """
    remove_entry(path, stopped)


def remove_entry(path: Path, stopped: Callable[[], bool] = _never) -> bool:
    """Remove the file, link or folder at `path`; return whether there was one.

    Raises OSError; TimeoutError if `stopped` returns True before it begins.
    """
    if stopped():
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    return removal.remove(path)


def remove_below(
    folder: Path, names: tuple[str, ...], stopped: Callable[[], bool] = _never
) -> None:
    """Remove the entry that the path `names` leads to from `folder`; a missing one is no error.

    A link on the way is removed itself.
    """
    path = folder
    for name in names[:-1]:
        path /= name
        if removal.is_link(path):
            remove_entry(path, stopped)
            return
    remove_entry(path / names[-1], stopped)


def copy_folder(source: Path, target: Path) -> None:
    """Copy the folder `source` to the new folder `target`; links in it stay links.

    Raises OSError.
    """
    shutil.copytree(source, target, symlinks=True)
