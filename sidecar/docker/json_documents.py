"""JSON as the engine reads it: Go's encoding/json, which does not mind a key's case.

What Go takes and Python does not, or the other way round, is refused; so is an object with two
keys that mean the same, since Go merges what they hold.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


class Unreadable(Exception):
    """A body that is not passed on; the text says why."""


class Fields(dict[str, Any]):
    """An object, in the order it was written; unknown keys stay."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = [name for name, _ in pairs] if len(self) < len(pairs) else None
        """All the names, where one of them stands there twice."""

    def key(self, name: str) -> str | None:
        """Return the key under which the engine finds the field `name`. Raises Unreadable."""
        folded = name.lower()
        found = [key for key in self.twice or self if _folded(key) == folded]
        if len(found) > 1:
            raise Unreadable(f"{name} is given twice")
        return found[0] if found else None

    def field(self, name: str, kind: type[Any]) -> Any:
        """Return a field's value if it is of that kind; else None. Raises Unreadable."""
        key = self.key(name)
        value = self[key] if key is not None else None
        return value if isinstance(value, kind) else None

    def put(self, name: str, value: Any) -> None:
        """Set a field. Raises Unreadable."""
        self[self.key(name) or name] = value


def _folded(name: str) -> str:
    """Fold a key as Go does: two letters outside ASCII stand for s and k."""
    return name.replace("\u017f", "s").replace("\u212a", "k").lower()


def read(body: bytes) -> Fields:
    """Read an object. Raises Unreadable."""
    try:
        # Go puts U+FFFD for what is no UTF-8; so it reads what is written for these later on.
        text = body.decode("utf-8", "surrogateescape")
        found = json.loads(text, object_pairs_hook=Fields, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the body is no JSON: {error}") from error
    if not isinstance(found, Fields):
        raise Unreadable("the body is no JSON object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def written(fields: Fields) -> bytes:
    """Write an object."""
    return json.dumps(fields, separators=(",", ":")).encode()
