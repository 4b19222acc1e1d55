"""Keep a minimum of runners warm at some hours of some days, in a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from sidecar.documents.tables import Table

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = 24 * 60
"""Minutes of a day."""
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)|24:00")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A minimum of runners between two times of some days."""

    minimum: int
    days: frozenset[int]
    """0 is Monday."""
    start: int
    """Minutes after midnight, in the time zone's own clock."""
    end: int
    """The same; an end that is not after the start is on the next day."""
    zone: ZoneInfo

    def covers(self, now: datetime) -> bool:
        """Say whether `now`, which has a time zone, is in one of its times.

        What counts is the local clock: an hour that a change of clocks skips is not there, and one
        that comes twice is covered twice.
        """
        local = now.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or (
            yesterday in self.days and minute < self.end
        )


def read_schedule(table: Table, most: int) -> Schedule | None:
    """Read one schedule; None where it has a mistake, which is then reported."""
    minimum = table.optional_number("min", 0, most)
    if minimum is None and table.right("min"):
        table.report("min", "is required")
    days = _read_days(table)
    start, end = _read_clock(table, "from", 0), _read_clock(table, "to", MIDNIGHT)
    zone = _read_zone(table)
    if table.right("from", "to") and start == end:
        table.report("to", "must differ from 'from'")
    table.finish()
    if minimum is None or zone is None or not table.right("days", "from", "to"):
        return None
    return Schedule(minimum, days, start, end, zone)


def _read_days(table: Table) -> frozenset[int]:
    """Read days: `mon-fri`, `sat,sun`, or a list of such."""
    value = table.taken("days")
    if value is None:
        return frozenset(range(7))
    items = value.split(",") if isinstance(value, str) else value
    found: set[int] = set()
    for item in items if isinstance(items, list) else [None]:
        days = _parse_days(item)
        if not days:
            table.report("days", f"must be days such as mon-fri or sat,sun, not {value!r:.60}")
            break
        found |= days
    return frozenset(found)


def _parse_days(item: object) -> set[int]:
    first, dash, last = str(item).strip().lower().partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        return set()
    begin = DAYS.index(first)
    length = (DAYS.index(last) - begin) % 7 if dash else 0
    return {(begin + number) % 7 for number in range(length + 1)}  # fri-mon goes over the weekend


def _read_clock(table: Table, key: str, default: int) -> int:
    """Read a time of day, as `08:30` or as TOML's own local time; minutes after midnight."""
    value = table.taken(key)
    if value is None:
        return default
    if isinstance(value, time):
        value = f"{value.hour:02}:{value.minute:02}"
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        table.report(key, f"must be a time of day such as 08:30, not {value!r:.60}")
        return default
    hours, minutes = value.split(":")
    return int(hours) * 60 + int(minutes)


def _read_zone(table: Table) -> ZoneInfo | None:
    name = table.required_text("time_zone")
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not known, not a name, or a folder of names
        table.report(
            "time_zone",
            f"must be a time zone that this system knows, such as Europe/Berlin, not {name!r:.60}",
        )
        return None
