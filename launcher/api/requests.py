"""Read the body of a request: JSON, or a form, into checked fields. What is not known is refused.

Nothing that is read here reaches a command line. Each field still has a rule of its own, so that
nobody has to think about what a later reader does with it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from launcher.api.answers import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 16 * 1024
"""Bytes of a body."""
MOST_FIELDS = 50
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


class Fields:
    """The fields of one body. Each reader takes one; `finish` refuses those left over."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._known: set[str] = set()

    def has(self, name: str) -> bool:
        """Say whether the body has the field, and not an empty one."""
        return self._values.get(name) not in (None, "")

    def take(self, name: str) -> Any:
        """Take a field as it is."""
        self._known.add(name)
        return self._values.get(name)

    def text(self, name: str, rule: re.Pattern[str], default: str | None = None) -> str:
        """Take a text; without a default it is required. Raises Refused."""
        value = self.take(name)
        if value in (None, "") and default is not None:
            return default
        if not isinstance(value, str) or not rule.fullmatch(value):
            raise Refused(400, f"{name} is missing or has another form")
        return value

    def optional_text(self, name: str, rule: re.Pattern[str]) -> str | None:
        """Take a text that may be missing. Raises Refused."""
        return self.text(name, rule, "") or None

    def number(self, name: str, default: float | None = None) -> float:
        """Take a number, which a form writes as text. Raises Refused."""
        value = self.take(name)
        if value in (None, "") and default is not None:
            return default
        text = str(value) if type(value) in (int, float, str) else ""
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
            raise Refused(400, f"{name} is missing or no number")
        return float(text)

    def flag(self, name: str) -> bool:
        """Take true or false, which a form writes as text; missing is false. Raises Refused."""
        value = self.take(name)
        words = {"true": True, "1": True, "false": False, "0": False, "": False}
        if isinstance(value, bool) or value is None:
            return bool(value)
        if not isinstance(value, str) or value.lower() not in words:
            raise Refused(400, f"{name} must be true or false")
        return words[value.lower()]

    def finish(self) -> None:
        """Refuse what nobody has read. Raises Refused."""
        for name in self._values:
            if name not in self._known:
                raise Refused(400, f"{_show(name)} is no field here")


def read_fields(headers: Mapping[str, str], body: bytes, *, forms: bool = False) -> Fields:
    """Read a body; with `forms` it may be a form. Raises Refused."""
    if len(body) > LARGEST:
        raise Refused(413, f"the body has more than {LARGEST} bytes")
    kind = headers.get("content-type", JSON).partition(";")[0].strip().lower()
    try:
        text = body.decode()
        if forms and kind == FORM and not text.lstrip().startswith("{"):
            pairs = parse_qsl(
                text, keep_blank_values=True, strict_parsing=True, max_num_fields=MOST_FIELDS
            )
            return Fields(_collect(pairs))
        # GARO's own action sends JSON with the content type of a form, as curl does by itself.
        if kind != JSON and not forms:
            raise Refused(415, f"the content type must be {JSON}")
        document = json.loads(text, object_pairs_hook=_collect)
    except (ValueError, RecursionError):
        raise Refused(400, "the body cannot be read") from None
    if not isinstance(document, dict) or len(document) > MOST_FIELDS:
        raise Refused(400, "the body is no JSON object")
    return Fields(document)


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a table; a name that comes twice would be read as one by some and the other by others.

    Raises Refused.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused(400, "the body has a field twice")
    return found


def _show(name: object) -> str:
    return repr(str(name)[:50]).encode("ascii", "backslashreplace").decode()
