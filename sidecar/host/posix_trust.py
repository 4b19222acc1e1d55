"""Tell on POSIX what only root can change: such files and folders may be believed by root."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.host.posix import paths

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import stat_result

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is

_MOST_LINKS = 40
"""As many as the kernel follows."""
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW
"""A step on the way, of any kind: a link is opened itself."""
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def is_file_of_root(path: Path) -> bool:
    """Return whether `path` leads to a regular file that only root can change, or replace.

    Root owns it, every folder above and every link on the way. A folder that others may write to
    must be sticky: there they can neither rename nor remove what is root's. A missing file could
    be made by others, so it is none of root's.
    """
    found = _follow(path)
    return (
        found is not None
        and stat.S_ISREG(found.st_mode)
        and not found.st_mode & _WRITABLE
        and found.st_nlink == 1  # its other name may be in a folder of somebody else
    )


def is_folder_of_root(path: Path) -> bool:
    """Return whether `path` leads to a folder into which only root can put something."""
    found = _follow(path)
    return found is not None and stat.S_ISDIR(found.st_mode) and not found.st_mode & _WRITABLE


def find_link_below(folder: Path, names: Iterable[str]) -> str | None:
    """Return the first of `names`, a path below `folder`, that is a link; None: there is none.

    Each step is opened in the one before it, without following links, up to one that is missing.
    Whoever owns it, a link is one. Raises OSError if `folder` cannot be opened, or is a link of
    a job's.
    """
    inside = paths.open_folder(folder)
    try:
        for name in names:
            try:
                deeper = os.open(name, _STEP, dir_fd=inside)
            except (FileNotFoundError, NotADirectoryError):
                return None
            os.close(inside)
            inside = deeper
            if stat.S_ISLNK(os.fstat(inside).st_mode):
                return name
        return None
    finally:
        os.close(inside)


def _follow(path: Path) -> stat_result | None:
    """Return what `path` leads to; None if anybody but root could let it lead elsewhere."""
    at, links = Path("/"), 0
    waiting = list(reversed(path.absolute().parts[1:]))
    status = at.lstat()
    while True:
        if status.st_uid != 0:
            return None
        if not waiting:
            return status
        if not stat.S_ISDIR(status.st_mode) or not _keeps_entries(status):
            return None
        name = waiting.pop()
        step = at.parent if name == ".." else at / name
        try:
            status = step.lstat()
            target = step.readlink() if stat.S_ISLNK(status.st_mode) else None
        except OSError:
            return None
        if target is None:
            at = step
            continue
        links += 1
        if status.st_uid != 0 or links > _MOST_LINKS:
            return None
        at = Path("/") if target.is_absolute() else at
        waiting.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        status = at.lstat()


def _keeps_entries(folder: stat_result) -> bool:
    """Return whether nobody but root can rename or remove what is root's in this folder."""
    return not folder.st_mode & _WRITABLE or bool(folder.st_mode & stat.S_ISVTX)
