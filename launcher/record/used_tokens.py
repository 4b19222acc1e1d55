"""Keep the tasks whose used tokens the workers delete, ten with one call.

SSM permits an account five deletes a second. A fleet uses more tokens than that, and each of them
is used in another worker, so they are collected in one item of the launches' table. What stands in
it stays there until its parameter is deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.record.table import KEY, Outdated, Table, make_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLAIMED = 60.0
"""Seconds for which one worker alone deletes; one that dies is followed by another then."""


class UsedTokens:
    """The collection of one table. Every call raises AwsError, in one of its kinds."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    async def add(self, task: str) -> int:
        """Add a task, by its id; return how many there are now."""
        values = {":tasks": {"SS": [task]}}
        return len(_read(await self._update("ADD #tasks :tasks", values)))

    async def claim(self) -> list[str]:
        """Return the tasks, for this worker alone; none where another one deletes."""
        values = {":until": make_number(self._now() + CLAIMED), ":now": make_number(self._now())}
        condition = "attribute_exists(#tasks) AND "
        condition += "(attribute_not_exists(#until) OR #until < :now)"
        try:
            return _read(await self._update("SET #until = :until", values, condition))
        except Outdated:
            return []

    async def remove(self, tasks: Sequence[str]) -> int:
        """Remove tasks whose tokens are deleted; return how many others are left."""
        values = {":tasks": {"SS": list(tasks)}}
        return len(_read(await self._update("DELETE #tasks :tasks", values)))

    async def release(self) -> None:
        """Let others claim the tasks."""
        await self._update("REMOVE #until", {})

    async def _update(self, change: str, values: dict[str, Any], condition: str = "") -> Any:
        names = [name for name in ("tasks", "until") if f"#{name}" in f"{change} {condition}"]
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Key": {KEY: {"S": "used-tokens"}},
            "UpdateExpression": change,
            "ExpressionAttributeNames": {f"#{name}": name for name in names},
            "ReturnValues": "ALL_NEW",
        }
        if values:
            request["ExpressionAttributeValues"] = values
        if condition:
            request["ConditionExpression"] = condition

        async def write(client: Any) -> Any:
            return await client.update_item(**request)

        return await self._table.write("write", write)


def _read(answer: Any) -> list[str]:
    return sorted(answer["Attributes"].get("tasks", {}).get("SS", []))
