"""Keep what the workers know of a pool as a whole: its faults, and who waits first.

One item for each pool stands in the launches' table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.record.table import KEY, Outdated, Table, make_number

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class PoolState:
    """The state of one pool, as far as the workers have seen it."""

    failures: int = 0
    """Tasks that ended by a fault since the last one whose runner got a job."""
    stopped_until: float = 0.0
    """When one launch may try again, after too many faults."""
    oldest: str | None = None
    """The launch that waits for room, and goes first."""
    oldest_seen: float = 0.0
    oldest_until: float = 0.0
    """When nobody waits for it any more: it may have been cancelled."""


class PoolStates:
    """The states of all pools. Every call raises AwsError, in one of its kinds."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    async def read(self, pool: str) -> PoolState:
        """Read a pool's state."""
        item = await self._table.read(_key(pool)) or {}
        number = {name: float(value["N"]) for name, value in item.items() if "N" in value}
        return PoolState(
            int(number.get("failures", 0)),
            number.get("stopped_until", 0.0),
            item["oldest"]["S"] if "oldest" in item else None,
            number.get("oldest_seen", 0.0),
            number.get("oldest_until", 0.0),
        )

    async def count_failure(self, pool: str) -> int:
        """Count a fault; return how many there are now."""
        answer = await self._update(
            pool, "ADD #failures :one", {":one": make_number(1)}, returns="UPDATED_NEW"
        )
        return int(answer["Attributes"]["failures"]["N"])

    async def recover(self, pool: str) -> None:
        """Forget all faults."""
        zero = {":zero": make_number(0)}
        await self._update(pool, "SET #failures = :zero, #stopped_until = :zero", zero)

    async def stop(self, pool: str, seen: PoolState, until: float) -> bool:
        """Stop a pool until then; False if another worker has done it since `seen` was read."""
        values = {":until": make_number(until), ":seen": make_number(seen.stopped_until)}
        condition = "#stopped_until = :seen"
        if not seen.stopped_until:
            condition = f"attribute_not_exists(#stopped_until) OR {condition}"
        try:
            await self._update(pool, "SET #stopped_until = :until", values, condition)
        except Outdated:
            return False
        return True

    async def wait_first(self, pool: str, launch: str, first_seen: float, until: float) -> bool:
        """Let a launch go first until then, unless an older one waits; say whether it does."""
        values = {
            ":launch": {"S": launch},
            ":seen": make_number(first_seen),
            ":until": make_number(until),
            ":now": make_number(self._now()),
        }
        condition = (
            "attribute_not_exists(#oldest) OR #oldest = :launch OR #oldest_until < :now "
            "OR #oldest_seen > :seen"
        )
        change = "SET #oldest = :launch, #oldest_seen = :seen, #oldest_until = :until"
        try:
            await self._update(pool, change, values, condition)
        except Outdated:
            return False
        return True

    async def stop_waiting(self, pool: str, launch: str) -> None:
        """Let the next one go first."""
        change = "REMOVE #oldest, #oldest_seen, #oldest_until"
        try:
            await self._update(pool, change, {":launch": {"S": launch}}, "#oldest = :launch")
        except Outdated:
            return

    async def _update(
        self,
        pool: str,
        change: str,
        values: dict[str, Any],
        condition: str | None = None,
        returns: str = "NONE",
    ) -> Any:
        used = [name for name in _NAMES if f"#{name}" in f"{change} {condition}"]
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Key": _key(pool),
            "UpdateExpression": change,
            "ExpressionAttributeNames": {f"#{name}": name for name in used},
            "ExpressionAttributeValues": values,
            "ReturnValues": returns,
        }
        if condition is not None:
            request["ConditionExpression"] = condition

        async def write(client: Any) -> Any:
            return await client.update_item(**request)

        return await self._table.write("write", write)


_NAMES = ("failures", "stopped_until", "oldest", "oldest_seen", "oldest_until")


def _key(pool: str) -> dict[str, Any]:
    return {KEY: {"S": f"pool#{pool}"}}
