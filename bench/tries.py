"""Measure again where a busy machine has spoiled a reading."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
TRIES = 5


class UnansweredError(RuntimeError):
    """Something was not answered, or too late: a machine may have stood still for a moment."""


def repeat(run: Callable[[], T]) -> T:
    """Return the first reading in which all was answered. Raises UnansweredError if none is.

    A machine that stands still for a moment spoils one; a server that fails spoils each.
    """
    for _ in range(TRIES - 1):
        with suppress(UnansweredError):
            return run()
    return run()
