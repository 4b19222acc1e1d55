"""Keep each event within one line of a container's log: as JSON, after all escaping.

Container runtimes cut a line after 16 KiB into several records, and half a JSON document is none.
A character may take twelve bytes in JSON, so that only the whole line, as it is written, tells.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST = 16 * 1024 - 1
"""Bytes of a line without its end: docker, containerd and Fargate have a buffer of 16 KiB."""
SIZES = (4096, 2048, 1024, 512, 256, 128, 64)
"""Bytes that a text may have; the largest with which the event fits is taken."""
MOST_ITEMS = 256
"""Items that a list or an object may have where one size did not do; fewer with each next one."""
KEPT = ("event", "level", "timestamp")
"""The keys of an event that is too large whatever is cut."""


def fit(event: Mapping[str, Any], render: Callable[[Mapping[str, Any]], str]) -> str:
    """Render an event; where it is too large, its longest texts are cut in the middle."""
    text = render(event)
    if _count(text) <= LARGEST:
        return text
    items = MOST_ITEMS
    for size in SIZES:
        text = render({key: _shorten(value, size, items) for key, value in event.items()})
        if _count(text) <= LARGEST:
            return text
        items //= 2
    return render({key: event[key] for key in KEPT if key in event} | {"cut": "all other keys"})


def _count(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _shorten(value: Any, size: int, items: int) -> Any:
    match value:
        case str():
            return _cut(value, size)
        case dict():
            kept = list(value.items())[:items]
            return {_cut(str(key), size): _shorten(item, size, items) for key, item in kept}
        case list() | tuple():
            shortened = [_shorten(item, size, items) for item in value[-items:]]
            left_out = len(value) - len(shortened)
            return [f"[{left_out} lines cut]", *shortened] if left_out else shortened
        case _:
            return value


def _cut(text: str, size: int) -> str:
    """Cut the middle out of a text that takes more than `size` bytes in JSON.

    What went wrong often stands at the end, as in a traceback.
    """
    if len(json.dumps(text)) <= size:
        return text
    begin = _take(text, size * 2 // 3)
    end = _take(text[::-1], size // 3)[::-1]
    return f"{begin}[{len(text) - len(begin) - len(end)} characters cut]{end}"


def _take(text: str, size: int) -> str:
    """Take as many characters as fit into `size` bytes of JSON."""
    taken = text[:size]
    while taken and len(json.dumps(taken)) > size:
        over = len(json.dumps(taken)) - size
        taken = taken[: -max(1, over // 12)]  # no character takes more
    return taken
