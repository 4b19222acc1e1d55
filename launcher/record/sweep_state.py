"""Remember between two sweeps what the first one has found, in the launches' table.

The marks stand in a few items, by how their keys begin, so that ten thousand of them need no more
calls than ten. One sweep at a time uses them: two that look at the same moment are not two looks.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

from launcher.record.table import EXPIRES, KEY, Outdated, make_number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from launcher.record.table import Table

SHARDS = "0123456789abcdef"
"""The beginnings of the keys of marks; one item holds those that begin alike."""
KEPT = 86_400
"""Seconds after which marks are forgotten, where nobody sweeps any more."""
MOST = 6000
"""Marks of one item, which may hold 400 KB. What has no mark is seen anew by the next sweep."""


class SweepState:
    """The memory of sweeps. Every call raises AwsError, in one of its kinds."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now
        self._holder = ""

    async def claim(self, seconds: float) -> bool:
        """Begin a sweep; False where another one is under way. It ends after `seconds` at last."""
        self._holder = self._holder or uuid.uuid4().hex
        values = {
            ":until": make_number(self._now() + seconds),
            ":now": make_number(self._now()),
            ":holder": {"S": self._holder},
        }
        try:
            await self._update(
                {KEY: {"S": "sweep"}},
                "SET #until = :until, #holder = :holder",
                values,
                "attribute_not_exists(#until) OR #until < :now OR #holder = :holder",
            )
        except Outdated:
            return False
        return True

    async def release(self) -> None:
        """End the sweep: the next one may begin."""
        values = {":holder": {"S": self._holder}}
        try:
            await self._update(
                {KEY: {"S": "sweep"}}, "REMOVE #until, #holder", values, "#holder = :holder"
            )
        except Outdated:  # it took too long, and another one has begun
            return

    async def look(self, keys: Collection[str], now: float) -> Mapping[str, float]:
        """Remember what this look has found, and nothing else; return when each was seen first.

        Keys are in hexadecimal.
        """
        shards: dict[str, list[str]] = {shard: [] for shard in SHARDS}
        for key in keys:
            shards[key[0]].append(key)
        looks = [self._look(shard, found, now) for shard, found in shards.items()]
        return {key: at for marks in await asyncio.gather(*looks) for key, at in marks.items()}

    async def _look(self, shard: str, keys: Collection[str], now: float) -> dict[str, float]:
        item = await self._table.read(_key(shard)) or {}
        known: dict[str, float] = json.loads(item["marks"]["S"]) if "marks" in item else {}
        kept = {key: known.get(key, now) for key in sorted(keys)[:MOST]}
        if kept != known:
            values = {
                ":marks": {"S": json.dumps(kept, separators=(",", ":"))},
                ":expires": make_number(int(now + KEPT)),
            }
            await self._update(_key(shard), "SET #marks = :marks, #expires = :expires", values)
        return {key: kept.get(key, now) for key in keys}

    async def _update(
        self,
        key: dict[str, Any],
        change: str,
        values: dict[str, Any],
        condition: str | None = None,
    ) -> None:
        text = f"{change} {condition}"
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Key": key,
            "UpdateExpression": change,
            "ExpressionAttributeNames": {f"#{name}": name for name in _NAMES if f"#{name}" in text},
            "ExpressionAttributeValues": values,
        }
        if condition is not None:
            request["ConditionExpression"] = condition

        async def write(client: Any) -> None:
            await client.update_item(**request)

        await self._table.write("write", write)


_NAMES = ("until", "holder", "marks", EXPIRES)


def _key(shard: str) -> dict[str, Any]:
    return {KEY: {"S": f"sweep-marks#{shard}"}}
