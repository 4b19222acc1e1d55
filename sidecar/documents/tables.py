"""Read typed values out of a document's tables, and collect one line for every mistake."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_DURATION = re.compile(r"(\d{1,7})\s*(s|m|h|d)?")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SHOWN = 60
"""Characters of a wrong value that are quoted."""


class Mistakes:
    """One line for every mistake, each once, in the order of the document."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def add(self, *parts: str) -> None:
        """Add a line of these parts: where, which key, what is wrong."""
        self._lines[": ".join(part for part in parts if part)] = None

    def lines(self) -> tuple[str, ...]:
        """Return the lines."""
        return tuple(self._lines)


class Table:
    """One table of the document. Each reader takes one key; `finish` reports those left over.

    A reader that finds a mistake reports it and returns the default, so that all others are read.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        mistakes: Mistakes,
        where: str | Callable[[str], str],
    ) -> None:
        self._values = values
        self._mistakes = mistakes
        self._where = where
        self._known: set[str] = set()
        self._wrong: set[str] = set()

    def has(self, key: str) -> bool:
        """Say whether the document has the key."""
        return key in self._values

    def right(self, *keys: str) -> bool:
        """Say whether these keys hold no mistake so far, so that they may be compared."""
        return self._wrong.isdisjoint(keys)

    def report(self, key: str, message: str) -> None:
        """Report a mistake of one key."""
        self._wrong.add(key)
        self._mistakes.add(self._place(key), key, message)

    def text(
        self, key: str, default: str = "", check: Callable[[str], object] | None = None
    ) -> str:
        """Read text; `check` raises ValueError that says what is wrong with it."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value:
            self.report(key, f"must be text, not {_show(value)}")
            return default
        return value if self._passes(key, value, check) else default

    def required_text(self, key: str, check: Callable[[str], object] | None = None) -> str:
        """Read text that must be there."""
        if not self.has(key):
            self._known.add(key)
            self.report(key, "is required")
        return self.text(key, check=check)

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """Read one of a few words, whatever its case."""
        words = {word.lower(): word for word in choices}
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, str) or value.lower() not in words:
            self.report(key, f"must be {' or '.join(words.values())}, not {_show(value)}")
            return default
        return words[value.lower()]

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """Read a whole number between `low` and `high`."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.report(key, f"must be a whole number from {low} to {high}, not {_show(value)}")
            return default
        return value

    def numbers(self, key: str, low: int, high: int, *, most: int = 100) -> tuple[int, ...]:
        """Read a list of whole numbers between `low` and `high`; each is kept once."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(
            type(item) is int and low <= item <= high for item in value
        ):
            self.report(key, f"must be a list of whole numbers, not {_show(value)}")
            return ()
        if len(value) > most:
            self.report(key, f"must have {most} items at most, and has {len(value)}")
            return ()
        return tuple(dict.fromkeys(value))

    def optional_number(self, key: str, low: int, high: int) -> int | None:
        """Read a whole number between `low` and `high`, or None where it is not set."""
        found = self.number(key, low - 1, low, high)
        return None if found < low else found

    def flag(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.report(key, f"must be true or false, not {_show(value)}")
            return default
        return value

    def seconds(self, key: str, default: int, low: int, high: int) -> int:
        """Read a duration: seconds as a number, or text such as `90s`, `5m`, `12h`, `2d`."""
        value = self._take(key)
        if value is None:
            return default
        found = _parse_seconds(value)
        if found is None or not low <= found <= high:
            rule = f"must be a time such as 90s, 5m or 12h, from {low} s to {high} s"
            self.report(key, f"{rule}, not {_show(value)}")
            return default
        return found

    def texts(
        self,
        key: str,
        check: Callable[[str], object] | None = None,
        *,
        most: int = 100,
    ) -> tuple[str, ...]:
        """Read a list of text; each item is checked and kept once."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.report(key, f"must be a list of text, not {_show(value)}")
            return ()
        if len(value) > most:
            self.report(key, f"must have {most} items at most, and has {len(value)}")
            return ()
        kept = [item for item in value if self._passes(key, item, check, quoted=True)]
        return tuple(dict.fromkeys(kept))

    def one_or_more(
        self, key: str, check: Callable[[str], object] | None = None, *, most: int = 100
    ) -> tuple[str, ...]:
        """Read text or a list of text; an empty list is a mistake, since it would match nothing."""
        if isinstance(value := self._values.get(key), str):
            self._known.add(key)
            return (value,) if self._passes(key, value, check, quoted=True) else ()
        if value == []:
            self.report(key, "must not be empty: leave it out")
        return self.texts(key, check, most=most)

    def pairs(self, key: str, check: Callable[[str, str], object]) -> dict[str, str]:
        """Read a table of text by text."""
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            self.report(key, f"must be a table of text, not {_show(value)}")
            return {}
        for name, text in value.items():
            try:
                check(name, text)
            except ValueError as error:
                self.report(key, f"{_show(name)} {error}")
        return dict(value)

    def table(self, key: str) -> Table:
        """Read a table inside this one; it is empty where there is none."""
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            self.report(key, f"must be a table, not {_show(value)}")
            value = None
        return Table(value or {}, self._mistakes, self._inside(key))

    def tables(self, key: str) -> list[Table]:
        """Read a list of tables inside this one."""
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.report(key, f"must be tables ([[...{key}]]), not {_show(value)}")
            return []
        return [
            Table(item, self._mistakes, self._inside(f"{key}[{number}]"))
            for number, item in enumerate(value, 1)
        ]

    def taken(self, key: str) -> Any:
        """Take a value as it is, to be checked by the caller."""
        return self._take(key)

    def finish(self) -> None:
        """Report every key that nobody read, with the nearest one that exists."""
        for key in self._values:
            if key in self._known:
                continue
            near = difflib.get_close_matches(key, self._known, 1)
            self.report(key, f"is no key here{f'; did you mean {near[0]}?' if near else ''}")

    def _take(self, key: str) -> Any:
        self._known.add(key)
        return self._values.get(key)

    def _passes(
        self,
        key: str,
        value: str,
        check: Callable[[str], object] | None,
        *,
        quoted: bool = False,
    ) -> bool:
        try:
            if check:
                check(value)
        except ValueError as error:
            self.report(key, f"{_show(value)} {error}" if quoted else str(error))
            return False
        return True

    def _place(self, key: str) -> str:
        return self._where if isinstance(self._where, str) else self._where(key)

    def _inside(self, key: str) -> str:
        place = self._place(key.partition("[")[0])
        return f"{place}: {key}" if place else key


def _parse_seconds(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return int(found[1]) * _UNITS[found[2] or ""]
    return None


def _show(value: object) -> str:
    """Quote a wrong value, short and on one line."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
