"""Call the launches' table in DynamoDB: deadlines, retries, and what its errors mean."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from sidecar.aws.calls import DYNAMODB, AwsError, Call, RateLimited, TransientError, backoff
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from sidecar.aws.session import ServiceClient

SETTING = "LAUNCHER_TABLE"
KEY, EXPIRES = "id", "expires"
"""The table's key, and the attribute of its time to live."""
_MISSED = "ConditionalCheckFailedException"
_CANCELLED = "TransactionCanceledException"
_CONTENDED = {"TransactionConflictException", "TransactionInProgressException"}
_REASON_MISSED = "ConditionalCheckFailed"
_REASONS_LIMITED = {"ThrottlingError", "ProvisionedThroughputExceeded"}


class Outdated(AwsError):
    """Somebody else has written the record: read it again, and decide anew."""


class Full(AwsError):
    """A counter is at its maximum; `counter` names it."""

    def __init__(self, counter: str, maximum: int) -> None:
        super().__init__(f"cannot start another runner: {counter} has {maximum}, its maximum")
        self.counter = counter


class Table:
    """One table. Every call raises AwsError, in one of its kinds."""

    def __init__(self, client: ServiceClient, name: str, timeout: float) -> None:
        self.name = name
        self._client = client
        self._timeout = timeout

    async def read(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """Read an item as it is now; None where there is none."""

        async def read(client: Any) -> dict[str, Any] | None:
            answer = await client.get_item(TableName=self.name, Key=key, ConsistentRead=True)
            found: dict[str, Any] | None = answer.get("Item")
            return found

        item: dict[str, Any] | None = await self._run("read", "dynamodb:GetItem", read, {})
        return item

    async def read_all(self, prefixes: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Read all items whose keys begin with one of these, as they were a moment ago."""
        given = {f":prefix{number}": {"S": prefix} for number, prefix in enumerate(prefixes)}
        request: dict[str, Any] = {
            "TableName": self.name,
            "FilterExpression": " OR ".join(f"begins_with(#key, {name})" for name in given),
            "ExpressionAttributeNames": {"#key": KEY},
            "ExpressionAttributeValues": given,
        }

        async def scan(client: Any) -> dict[str, Any]:
            page: dict[str, Any] = await client.scan(**request)
            return page

        while True:
            page = await self._run("read", "dynamodb:Scan", scan, {})
            for item in page["Items"]:
                yield item
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    async def write(
        self,
        verb: str,
        work: Callable[[Any], Awaitable[Any]],
        limits: Mapping[str, int] | None = None,
    ) -> Any:
        """Write with the library's client. Raises Outdated where a condition fails.

        `limits` are the maxima of the counters that a transaction changes after its first step.
        """
        return await self._run(verb, "dynamodb:UpdateItem", work, limits or {})

    async def _run(
        self,
        verb: str,
        permission: str,
        work: Callable[[Any], Awaitable[Any]],
        limits: Mapping[str, int],
    ) -> Any:
        call = Call(f"cannot {verb} the launch record", DYNAMODB, permission, SETTING)

        async def once() -> Any:
            client = await self._client.connect()
            try:
                return await work(client)
            except ClientError as error:
                raise _translate(call.action, error, limits) from error

        return await call_with_retries(partial(call.run, once), backoff(), seconds=self._timeout)


def make_number(value: float) -> dict[str, str]:
    """Make an attribute of a number."""
    return {"N": str(value)}


def _translate(action: str, error: ClientError, limits: Mapping[str, int]) -> Exception:
    """Tell a condition that failed from contention; other errors are the call's to translate."""
    code = error.response.get("Error", {}).get("Code", "")
    if code == _MISSED:
        return Outdated(f"{action}: another worker has changed it")
    if code in _CONTENDED:
        return TransientError(f"{action}: another transaction is under way")
    if code == _CANCELLED:
        return _translate_cancelled(action, error, limits)
    return error  # type: ignore[no-any-return]  # botocore has no types


def _translate_cancelled(action: str, error: ClientError, limits: Mapping[str, int]) -> AwsError:
    """Read why a transaction was cancelled: one reason for each of its steps, in their order."""
    listed: Any = error.response.get("CancellationReasons") or []
    record, *counters = [str(reason.get("Code", "None")) for reason in listed] or ["None"]
    # The record first: where this write has succeeded before, it also filled the counter.
    if record == _REASON_MISSED:
        return Outdated(f"{action}: another worker has changed it")
    for (name, most), code in zip(limits.items(), counters, strict=False):
        if code == _REASON_MISSED:
            return Full(name, most)
    codes = {record, *counters} - {"None"}
    if _REASON_MISSED in codes:  # another record of the same transaction
        return Outdated(f"{action}: another worker has changed it")
    if codes & _REASONS_LIMITED:
        return RateLimited(f"{action}: throttled by {DYNAMODB.title}")
    if codes == {"TransactionConflict"} or not codes:
        return TransientError(f"{action}: another transaction is under way")
    return AwsError(f"{action}: {DYNAMODB.title} cancels it: {', '.join(sorted(codes))}")
