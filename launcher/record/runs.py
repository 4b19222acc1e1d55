"""Keep who asks for a run's runners in the launches' table: one worker asks GitHub, all know.

A worker is a copy of a function that lives for minutes, and there are many of them: what each of
them asked by itself would be asked many times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.pools.access import Requester
from launcher.record.table import EXPIRES, KEY, Table, make_number

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = 86_400
"""Seconds; GitHub keeps a job queued for one day."""


class Runs:
    """The runs that a worker has asked about. Every call raises AwsError, in one of its kinds."""

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now

    async def read(self, url: str, repository: str, run: int) -> Requester | None:
        """Read who asks for a run; None where no worker has asked yet."""
        item = await self._table.read(_key(url, repository, run))
        if item is None or float(item[EXPIRES]["N"]) < self._now():
            return None
        return Requester(
            repository,
            item["event"]["S"] if "event" in item else None,
            item["head"]["S"] if "head" in item else None,
            tuple(each["S"] for each in item["refs"]["L"]),
        )

    async def save(self, url: str, run: int, found: Requester) -> None:
        """Write down who asks for a run; what GitHub did not tell is left out."""
        item: dict[str, Any] = {
            **_key(url, found.repository, run),
            "refs": {"L": [{"S": ref} for ref in found.refs]},
            EXPIRES: make_number(int(self._now() + KEPT)),
        }
        if found.event is not None:
            item["event"] = {"S": found.event}
        if found.head_repository is not None:
            item["head"] = {"S": found.head_repository}
        names = [name for name in item if name != KEY]
        change = "SET " + ", ".join(f"#{name} = :{name}" for name in names)

        async def write(client: Any) -> None:
            await client.update_item(
                TableName=self._table.name,
                Key={KEY: item[KEY]},
                UpdateExpression=change,
                ExpressionAttributeNames={f"#{name}": name for name in names},
                ExpressionAttributeValues={f":{name}": item[name] for name in names},
            )

        await self._table.write("write", write)


def _key(url: str, repository: str, run: int) -> dict[str, Any]:
    return {KEY: {"S": f"run#{url} {repository} {run}"}}
