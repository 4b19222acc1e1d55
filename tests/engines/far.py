"""Serve the far side of a task's network: the ECS agent, the instance's metadata, and AWS.

A program, `python -m tests.engines.far`, for a network namespace that has these addresses. It
prints "ready URL" with the URL of STS and SSM, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from local import aws, ecs_agent, imds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ECS_AGENT = "169.254.170.2"
INSTANCE_METADATA = "169.254.169.254"
GATEWAY = "10.0.2.1"
"""The gateway of the task's subnet (see `local.ecs_agent`); AWS is served there."""
AWS_PORT, S3_PORT = 5000, 5001

_SIGNED = re.compile(r"Credential=([^/,]+)/")
_BUCKETS = (
    '<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Buckets><Bucket>'
    "<Name>{}</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate></Bucket></Buckets>"
    "</ListAllMyBucketsResult>"
)


@asynccontextmanager
async def _s3(sts: str) -> AsyncIterator[None]:
    """Serve a list of one bucket, which has the name of the client's role.

    So a client that has S3 and no STS shows its identity.
    """
    async with aiohttp.ClientSession() as session:

        async def answer(request: web.BaseRequest) -> web.Response:
            key = _SIGNED.search(request.headers.get("Authorization", ""))
            if key is None:
                return web.Response(status=403)
            # moto finds the role by the key alone, and checks no signature.
            signed = f"AWS4-HMAC-SHA256 Credential={key[1]}/20260101/{aws.REGION}/sts/aws4_request"
            headers = {"Authorization": f"{signed}, SignedHeaders=host, Signature=0"}
            query = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
            async with session.post(sts, data=query, headers=headers) as reply:
                role = re.search(r"assumed-role/([^/<]+)", await reply.text())
            name = role[1] if role else "nobody"
            return web.Response(text=_BUCKETS.format(name), content_type="application/xml")

        runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.01)
        await runner.setup()
        try:
            await web.TCPSite(runner, GATEWAY, S3_PORT).start()
            yield
        finally:
            await runner.cleanup()


async def _main(network_mode: str) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        sts = stack.enter_context(aws.serving(GATEWAY, AWS_PORT))
        task = ecs_agent.Task(network_mode=network_mode)
        await enter(ecs_agent.serving(ECS_AGENT, 80, task=task, aws_endpoint=sts))
        await enter(imds.serving(sts, INSTANCE_METADATA, 80))
        await enter(_s3(sts))
        print(f"ready {sts}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.engines.far", description=__doc__)
    parser.add_argument("--network-mode", default="awsvpc", choices=("awsvpc", "bridge", "host"))
    asyncio.run(_main(parser.parse_args().network_mode))
