"""The runner's own key on POSIX: a plain file."""

from __future__ import annotations

import sys

assert sys.platform != "win32"  # noqa: S101  tells the type checker where it is


def seal_runner_key(content: bytes) -> bytes:
    """Return a runner's key as its program keeps it: as it is."""
    return content


def unseal_runner_key(content: bytes) -> bytes:
    """Return what is in the file of a runner's key: that is plain here."""
    return content
