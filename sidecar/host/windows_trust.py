"""Tell on Windows what only root can change: there is no root, so every file is believed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def is_file_of_root(path: Path) -> bool:
    """Return True if there is such a file: agent and jobs have the same user here."""
    return path.is_file()


def is_folder_of_root(path: Path) -> bool:
    """Return True if there is such a folder: agent and jobs have the same user here."""
    return path.is_dir()


def find_link_below(folder: Path, names: Iterable[str]) -> str | None:
    """Return the first of `names`, a path below `folder`, that is a link; None: there is none."""
    for name in names:
        folder /= name
        if folder.is_symlink():
            return name
    return None
