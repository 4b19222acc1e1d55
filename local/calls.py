"""Find calls among those that a stand-in has noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def find_calls(
    noted: Iterable[tuple[str, dict[str, Any]]], operation: str, *, once: bool = False
) -> list[dict[str, Any]]:
    """Return the arguments of each call of `operation`, oldest first.

    With `once`, without those that a client has repeated, word for word: its answer came late.
    """
    found = [arguments for name, arguments in noted if name == operation]
    return [each for at, each in enumerate(found) if not once or each not in found[:at]]
