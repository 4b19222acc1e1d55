"""The floor of the webhook service: bare aiohttp, one HMAC, one SendMessage by the same client.

It listens on a free port of loopback, prints "ready URL" and ends with its standard input.
QUEUE_URL and WEBHOOK_SECRET are its settings. What the service takes beyond this is its own:
reading and checking the payload, bounds of time and memory, the log.
"""

import asyncio
import hashlib
import hmac
import os
import sys

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import web

CONFIG = AioConfig(max_pool_connections=50, retries={"total_max_attempts": 1})


async def main(queue: str, secret: bytes) -> None:
    """Serve until standard input ends."""
    async with get_session().create_client("sqs", config=CONFIG) as sqs:

        async def take(request: web.Request) -> web.Response:
            body = await request.read()
            signature = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
            if not hmac.compare_digest(signature, request.headers["x-hub-signature-256"]):
                return web.Response(status=401)
            await sqs.send_message(QueueUrl=queue, MessageBody="queued")
            return web.Response(status=202, text="queued")

        application = web.Application(client_max_size=25 * 1024 * 1024)
        application.router.add_post("/webhook", take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"ready http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(os.environ["QUEUE_URL"], os.environ["WEBHOOK_SECRET"].encode()))
