"""Remove files, folders and links, read-only or still in use for a moment."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is

_ATTEMPTS, _PAUSE = 10, 0.05
"""The tries for a file that is still in use, and the seconds between two of them.

A killed process keeps its files for a moment, and so does a virus scanner.
"""
_IN_USE = (5, 32, 145)
"""Access denied, used by another process, folder not empty (an entry of it is still going away)."""


def is_link(path: Path) -> bool:
    """Return whether `path` is a link of any kind: a junction is one to a folder."""
    try:
        return bool(path.lstat().st_reparse_tag)
    except FileNotFoundError:
        return False


def remove(path: Path) -> bool:
    """Remove the file, link or folder at `path`; return whether there was one. Raises OSError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode) and not is_link(path):
        _remove_tree(path)
    else:
        _retry(os.unlink, str(path))
    return True


def _remove_tree(path: Path) -> None:
    """Remove a folder with everything in it; links in it are removed, not followed."""
    try:
        if sys.version_info >= (3, 12):
            shutil.rmtree(path, onexc=lambda remove, name, _: _retry(remove, name))
        else:
            shutil.rmtree(path, onerror=lambda remove, name, _: _retry(remove, name))
    except RecursionError as error:
        raise OSError(f"{path} has folders that are too deep to be removed") from error


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
