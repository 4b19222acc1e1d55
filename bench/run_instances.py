"""EC2's control plane that notes when RunInstances comes: `python -m bench.run_instances`.

What listens is its control: `GET /_local/endpoint` returns EC2's URL, and
`GET /_local/received?count=N` waits for N requests of RunInstances and returns when each was
answered, on the clock that all processes share (time.monotonic). Its machines do nothing.
"""

from __future__ import annotations

import asyncio
import signal
import time

import uvloop
from aiohttp import web

from local import ec2
from local.listening import listening

DAY = 86_400.0
ENDS = {"InstanceInitiatedShutdownBehavior": "terminate"}


async def note(plane: ec2.ControlPlane, received: list[float], came: asyncio.Condition) -> None:
    """Note when each RunInstances is answered."""
    while True:
        await plane.wait_for(lambda: len(plane.asked("RunInstances")) > len(received), DAY)
        async with came:
            received.append(time.monotonic())
            came.notify_all()


async def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    received: list[float] = []
    came = asyncio.Condition()

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path == "/_local/endpoint":
            return web.json_response(plane.url)
        count = int(request.query.get("count", "0"))
        async with came:
            await came.wait_for(lambda: len(received) >= count)
        return web.json_response(received)

    async with ec2.serving() as plane, listening(answer) as url:
        template = ec2.LaunchTemplate()
        plane.templates = [ec2.LaunchTemplate(data={**template.data, **ENDS})]
        noting = asyncio.create_task(note(plane, received, came))
        print(f"ready {url}", flush=True)
        await stopped.wait()
        noting.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
