"""Remember which runs were run again because Spot capacity was taken from one of their jobs.

One item for each such run stands in the launches' table, longer than GitHub lets it run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.record.table import EXPIRES, KEY, Outdated, Table, make_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.demand.delivery import Demand

KEPT = 31 * 86_400
"""Seconds; GitHub runs nothing again that is older than 30 days."""
ATTEMPT = "attempt"


class RerunStates:
    """The runs that were run again. Every call raises AwsError, in one of its kinds."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    async def read(self, demand: Demand) -> int | None:
        """Read which attempt of a job's run was interrupted; None: no re-run was asked for."""
        item = await self._table.read(_key(demand))
        return int(item[ATTEMPT]["N"]) if item else None

    async def claim(self, demand: Demand) -> bool:
        """Take the one re-run of a job's run for its attempt; False if another one had it.

        Taken twice for one attempt it is the same one: whoever took it may have died since.
        """
        values = {
            ":attempt": make_number(demand.run_attempt),
            ":expires": make_number(int(self._now()) + KEPT),
        }
        request: dict[str, Any] = {
            "TableName": self._table.name,
            "Key": _key(demand),
            "UpdateExpression": "SET #attempt = :attempt, #expires = :expires",
            "ConditionExpression": "attribute_not_exists(#attempt) OR #attempt = :attempt",
            "ExpressionAttributeNames": {"#attempt": ATTEMPT, "#expires": EXPIRES},
            "ExpressionAttributeValues": values,
        }

        async def write(client: Any) -> Any:
            return await client.update_item(**request)

        try:
            await self._table.write("write", write)
        except Outdated:
            return False
        return True


def _key(demand: Demand) -> dict[str, Any]:
    return {KEY: {"S": f"rerun#{demand.repository_id}#{demand.run_id}"}}
