"""Windows kills nothing when memory is full: it refuses to give more."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

assert sys.platform == "win32"  # noqa: S101  tells the type checker where it is


def protect_from_memory_kill() -> bool:
    """Return False: there is nothing to protect from."""
    return False


@contextmanager
def usual_memory_score() -> Iterator[None]:
    """Do nothing: processes have no such score here."""
    yield
