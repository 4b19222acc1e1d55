"""Keep which launch was begun by which token of a caller's, so that a token begins one only.

Whoever sees a token of somebody else's may send it again until it has expired: that begins nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from launcher.record.table import EXPIRES, KEY, Outdated, Table, make_number

if TYPE_CHECKING:
    from collections.abc import Mapping

SPARE = 3600.0
"""Seconds for which it is kept beyond the token's end."""


class ShownTokens:
    """The tokens that have begun a launch. Every call raises AwsError, in one of its kinds."""

    def __init__(self, table: Table) -> None:
        self._table = table

    async def use(self, token: str, launch: str, expires: float) -> bool:
        """Begin a launch by a token; False where it has begun another one.

        `token` is the token's own id, which says whose token it is by itself.
        """
        values = {":launch": {"S": launch}, ":expires": make_number(int(expires + SPARE))}

        async def write(client: Any) -> None:
            await client.update_item(
                TableName=self._table.name,
                Key=_key(token),
                UpdateExpression="SET #launch = :launch, #expires = :expires",
                ConditionExpression="attribute_not_exists(#launch) OR #launch = :launch",
                ExpressionAttributeNames={"#launch": "launch", "#expires": EXPIRES},
                ExpressionAttributeValues=values,
            )

        try:
            await self._table.write("write", write)
        except Outdated:
            return False
        return True


def _key(token: str) -> Mapping[str, Any]:
    return {KEY: {"S": f"shown-token#{hashlib.sha256(token.encode()).hexdigest()}"}}
