"""A DynamoDB that answers fast: the storms' model of one behind a port, `python -m bench.table`.

moto parses an update expression in some twenty milliseconds, which is several times what DynamoDB
takes for the whole call. This one answers each call after LATENCY, as DynamoDB does in its region.
"""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import uvloop
from aiohttp import web
from botocore.exceptions import ClientError

from tests.storms.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

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


async def main() -> None:
    """Serve until SIGTERM or SIGINT."""
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

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"ready http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
