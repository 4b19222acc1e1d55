"""Give out turns for calls whose rate AWS or GitHub limits, one line for all workers together.

A turn is a place in a line; the line is one item of the launches' table. The line moves at a rate
below the limit, so that calls are not made to be refused. What is refused all the same (others of
the account make calls too) lets the whole line stand still for a while, also for the turns that
were given out before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.record.table import KEY, Outdated, Table, make_number

if TYPE_CHECKING:
    from collections.abc import Callable

SAME = 30.0
"""Seconds between the ends of two stops that are taken for one."""
MICRO = 1_000_000
"""Times are kept in whole microseconds: a condition compares them exactly."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a line moves."""

    name: str
    rate: float
    """Turns per second."""
    burst: float
    """Turns that are given at once after a rest."""

    @property
    def step(self) -> int:
        """Return the microseconds between two turns."""
        return round(MICRO / self.rate)

    @property
    def head(self) -> int:
        """Return how far behind the clock the line may be: so the first turns come at once."""
        return round(self.burst * self.step)


@dataclass(frozen=True, slots=True)
class Turn:
    """A place in a line."""

    place: int
    """When it would come if the line never stood still, in microseconds since 1970."""
    due: float
    """When it comes, in seconds since 1970, as far as is known now."""


@dataclass(frozen=True, slots=True)
class _Line:
    free: int
    """The place of the next turn that nobody has."""
    late: int
    """For how long the line has stood still, in microseconds."""
    until: int = 0
    """Until when it stands still now."""

    def begin(self, pace: Pace, now: int) -> int | None:
        """Say when the line begins anew, if everybody in it has had a turn."""
        begin = max(now - pace.head, self.until)
        return begin if self.free + self.late < begin else None


REST = _Line(0, 0)
"""A line that nobody has ever stood in."""


class Paces:
    """The lines of one table. Every call raises AwsError, in one of its kinds."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now
        self._seen: dict[str, _Line] = {}

    async def take(self, pace: Pace) -> Turn:
        """Take the next turn."""
        line = self._seen.get(pace.name, REST)
        while True:
            try:
                return await self._take(pace, line)
            except Outdated:  # another worker has moved it
                line = await self._read(pace)

    async def take_now(self, pace: Pace) -> bool:
        """Take a turn if there is one that comes at once; say whether there was."""
        line = self._seen.get(pace.name, REST)
        # What this process has seen last may be old, but a line never goes back.
        while line.free + line.late <= (now := round(self._now() * MICRO)):
            try:
                await self._take(pace, line, now)
            except Outdated:
                line = await self._read(pace)
            else:
                return True
        return False

    async def look(self, pace: Pace, place: int) -> Turn:
        """Look when a turn comes that was taken before."""
        return _make_turn(place, (await self._read(pace)).late)

    async def slow_down(self, pace: Pace, seconds: float) -> None:
        """Let the line stand still for some seconds more, each time that this is called."""
        values = {":late": make_number(round(seconds * MICRO))}
        try:
            await self._update(pace, "ADD #late :late", values, "attribute_exists(#late)")
        except Outdated:  # nobody has a turn
            return

    async def stop(self, pace: Pace, seconds: float) -> None:
        """Let the line stand still for some seconds from now on; of many such calls one counts."""
        until = round((self._now() + seconds) * MICRO)
        values = {
            ":late": make_number(round(seconds * MICRO)),
            ":until": make_number(until),
            ":least": make_number(until - round(SAME * MICRO)),
        }
        condition = "attribute_not_exists(#until) OR #until < :least"
        try:
            await self._update(pace, "SET #until = :until ADD #late :late", values, condition)
        except Outdated:  # another worker has done it
            return

    async def _take(self, pace: Pace, seen: _Line, due: int | None = None) -> Turn:
        """Take a turn if the line is as it was seen, and it comes by then. Raises Outdated."""
        begin = seen.begin(pace, round(self._now() * MICRO))
        values = {":late": make_number(seen.late), ":seen": make_number(seen.free)}
        if begin is None:
            values[":step"] = make_number(pace.step)
            # Others may have taken turns meanwhile.
            change, condition = "ADD #free :step", "#late = :late AND #free >= :seen"
            if due is not None:
                values[":due"] = make_number(due - seen.late)
                condition += " AND #free <= :due"
        else:
            values[":free"] = make_number(begin - seen.late + 2 * pace.step)
            change = "SET #free = :free, #late = :late"
            condition = "#free = :seen AND #late = :late"
            if not seen.free:
                del values[":seen"]
                late = "#late = :late" if seen.late else "attribute_not_exists(#late)"
                condition = f"attribute_not_exists(#free) AND {late}"
        answer = await self._update(pace, change, values, condition)
        line = self._seen[pace.name] = _read_line(answer["Attributes"])
        return _make_turn(line.free - pace.step, line.late)

    async def _read(self, pace: Pace) -> _Line:
        line = self._seen[pace.name] = _read_line(await self._table.read(_key(pace)) or {})
        return line

    async def _update(self, pace: Pace, change: str, values: dict[str, Any], condition: str) -> Any:
        names = [name for name in _NAMES if f"#{name}" in f"{change} {condition}"]

        async def write(client: Any) -> Any:
            return await client.update_item(
                TableName=self._table.name,
                Key=_key(pace),
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames={f"#{name}": name for name in names},
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
            )

        return await self._table.write("write", write)


_NAMES = ("free", "late", "until")


def _make_turn(place: int, late: int) -> Turn:
    return Turn(place, (place + late) / MICRO)


def _read_line(item: dict[str, Any]) -> _Line:
    values = (int(float(item[name]["N"])) if name in item else 0 for name in _NAMES)
    return _Line(*values)


def _key(pace: Pace) -> dict[str, Any]:
    return {KEY: {"S": f"pace#{pace.name}"}}
