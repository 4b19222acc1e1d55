"""An ECS that notes when RunTask comes, and starts nothing: `python -m bench.run_task`.

Every task that it has started is RUNNING until it is stopped. `GET /_local/received?count=N` waits
for N requests of RunTask and returns when each came, on the clock that all processes share
(time.monotonic).
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from typing import Any

import uvloop
from aiohttp import web

from local.ecs import PREFIX, TARGET

CLUSTER = "runners"


class Receiver:
    """Answers for ECS."""

    def __init__(self) -> None:
        self._received: list[float] = []
        self._tasks: dict[str, dict[str, Any]] = {}
        self._came = asyncio.Condition()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        now = time.monotonic()
        if request.path.startswith("/_local/"):
            return await self._answer_control(int(request.query.get("count", "0")))
        operation = request.headers.get("X-Amz-Target", "").removeprefix(TARGET)
        wanted = json.loads(await request.read() or b"{}")
        if operation == "RunTask":
            async with self._came:
                self._received.append(now)
                self._came.notify_all()
            return _say({"tasks": [self._start(wanted)], "failures": []})
        asked = [name.rpartition("/")[2] for name in wanted.get("tasks", [wanted.get("task", "")])]
        found = [self._tasks[name] for name in asked if name in self._tasks]
        if operation == "DescribeTasks":
            return _say({"tasks": found, "failures": []})
        for task in found:
            task |= {"lastStatus": "STOPPED", "desiredStatus": "STOPPED"}
        return _say({"task": found[0]} if found else {})

    def _start(self, wanted: dict[str, Any]) -> dict[str, Any]:
        name = uuid.uuid4().hex
        task = {
            "taskArn": f"{PREFIX}:task/{CLUSTER}/{name}",
            "lastStatus": "RUNNING",
            "desiredStatus": "RUNNING",
            "startedBy": wanted.get("startedBy", ""),
            "containers": [{"name": "runner", "lastStatus": "RUNNING"}],
            "version": 1,
        }
        self._tasks[name] = task
        return task

    async def _answer_control(self, count: int) -> web.Response:
        async with self._came:
            await self._came.wait_for(lambda: len(self._received) >= count)
        return web.json_response(self._received)


def _say(document: dict[str, Any]) -> web.Response:
    body = json.dumps(document).encode()
    return web.Response(body=body, content_type="application/x-amz-json-1.1")


async def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    runner = web.ServerRunner(web.Server(Receiver().answer, access_log=None), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"ready http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
