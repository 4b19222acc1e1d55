"""A DynamoDB that answers fast: the storms' model of one behind a port, `python -m bench.table`.

moto parses an update expression in some twenty milliseconds, which is several times what DynamoDB
takes for the whole call. This one answers each call after LATENCY, as DynamoDB does in its region.
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvloop
from aiohttp import web
from botocore.exceptions import ClientError

from local.listening import listening
from tests.storms.table import Table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LATENCY = 0.004
"""Seconds."""
OPERATIONS = {
    "GetItem": Table.get_item,
    "PutItem": Table.put_item,
    "UpdateItem": Table.update_item,
    "DeleteItem": Table.delete_item,
    "TransactWriteItems": Table.transact_write_items,
}


class Calm:
    """The weather of a model that never fails."""

    async def call(self, _service: str, _operation: str, act: Callable[[], Any]) -> Any:
        """Do it, after the time that a call takes."""
        await asyncio.sleep(LATENCY)
        return act()


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Serve one table; yield its URL."""
    table = Table(Calm())  # type: ignore[arg-type]

    async def answer(request: web.BaseRequest) -> web.Response:
        operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        given, status = json.loads(await request.read()), 200
        given.pop("ClientRequestToken", None)
        try:
            document = await OPERATIONS[operation](table, **given)
        except ClientError as error:
            status, found = 400, dict(error.response)
            found.pop("ResponseMetadata", None)
            told: dict[str, Any] = dict(found.pop("Error", {}))
            document = {"__type": told.get("Code"), "message": told.get("Message", ""), **found}
        body = json.dumps(document).encode()
        return web.Response(status=status, body=body, content_type="application/x-amz-json-1.0")

    async with listening(answer) as url:
        yield url


async def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving() as url:
        print(f"ready {url}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
