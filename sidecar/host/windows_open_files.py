"""The limit of open files on Windows, which has none that a job could reach."""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def max_open_files() -> int:
    """Return how many sockets this process may have open: Windows has no such limit."""
    return sys.maxsize


def raise_file_limit() -> None:
    """Do nothing: there is no limit to raise."""


def free_reserve() -> bool:
    """Return False: no files are held back."""
    return False
