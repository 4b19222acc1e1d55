"""The limit of open files on POSIX: raised for the agent alone, with a reserve for its end."""

from __future__ import annotations

import sys

from sidecar.host.posix import open_files

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is


def max_open_files() -> int:
    """Return how many files and sockets this process may have open (RLIMIT_NOFILE)."""
    return open_files.read_limit()


def raise_file_limit() -> None:
    """Raise this process's limit of open files to what the system allows it; hold the reserve."""
    open_files.raise_limit()


def free_reserve() -> bool:
    """Free the files that are held back; return whether there were any."""
    return open_files.free_reserve()
