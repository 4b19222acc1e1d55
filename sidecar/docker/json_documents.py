"""Parse JSON as the engine does: with Go's encoding/json, which ignores the case of keys.

A body that Go and Python would read differently is refused. So is an object with two keys for one
field, because Go merges their values.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


class UnreadableBody(Exception):
    """A body is not passed on; the text says why."""


_NO_KEYS: dict[str, str | None] = {}


class JsonObject(dict[str, Any]):
    """A JSON object with the order of its keys; unknown keys stay."""

    __slots__ = ("_folded", "_folded_size", "all_names")

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.all_names = [name for name, _ in pairs] if len(self) < len(pairs) else None
        """All names as written, if one of them is there twice; else None."""
        self._folded = _NO_KEYS
        """The keys by their names without case; None for a name that is there twice."""
        self._folded_size = 0
        """The number of keys when they were folded."""

    def find_key(self, name: str) -> str | None:
        """Return the key under which the engine finds the field `name`. Raises UnreadableBody."""
        if self._folded_size != len(self):
            self._fold_keys()
        folded = name.lower()
        key = self._folded.get(folded)
        if key is None and folded in self._folded:
            raise UnreadableBody(f"{name} is given twice")
        return key

    def _fold_keys(self) -> None:
        """Fold each key once, however many fields are looked for."""
        folded: dict[str, str | None] = {}
        for key in self.all_names or self:
            plain = _fold(key)
            folded[plain] = None if plain in folded else key
        self._folded, self._folded_size = folded, len(self)

    def fold_names(self) -> list[tuple[str, Any]]:
        """Return all fields by their folded names. Raises UnreadableBody if one is there twice."""
        folded = [_fold(name) for name in self.all_names or self]
        if len(set(folded)) < len(folded):
            raise UnreadableBody("a field is given twice")
        return list(zip(folded, self.values(), strict=True))

    def get_field(self, name: str, kind: type[Any]) -> Any:
        """Return a field's value, or None if it is not of that kind. Raises UnreadableBody."""
        key = self.find_key(name)
        value = self[key] if key is not None else None
        return value if isinstance(value, kind) else None

    def set_field(self, name: str, value: Any) -> None:
        """Set a field. Raises UnreadableBody."""
        self[self.find_key(name) or name] = value


def _fold(name: str) -> str:
    """Fold a key as Go does: two letters outside ASCII are equal to s and k."""
    return name.replace("\u017f", "s").replace("\u212a", "k").lower()


def parse_object(body: bytes) -> JsonObject:
    """Parse a body that must be one JSON object. Raises UnreadableBody."""
    try:
        # Go reads U+FFFD for bytes that are not UTF-8, and for what we write for them later.
        text = body.decode("utf-8", "surrogateescape")
        value = json.loads(text, object_pairs_hook=JsonObject, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnreadableBody(f"the body is no JSON: {error}") from error
    if not isinstance(value, JsonObject):
        raise UnreadableBody("the body is no JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def serialize(value: JsonObject) -> bytes:
    """Write an object as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def read_text(body: bytes, field: str) -> str | None:
    """Return a text of the engine's response, by docker's name of the field or podman's."""
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    value = (fields.get(field) or fields.get(field.lower())) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else None


def read_names(text: str) -> frozenset[str]:
    """Return the names in a text: folded ones, if they are to be found in `fold_names`."""
    return frozenset(text.split())
