"""The floor of the API: bare aiohttp, one RS256 by PyJWT, the same two calls of the table.

It listens on a free port of loopback, prints "ready URL" and ends with its standard input. ISSUER,
TABLE and LAUNCH are its settings; the keys are read once. What the API takes beyond this is its
own: claims, callers, pools, fields, bounds of time and memory.
"""

import asyncio
import hashlib
import json
import os
import sys
import urllib.request
from typing import Any

import jwt
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import web

CONFIG = AioConfig(max_pool_connections=50, retries={"total_max_attempts": 1})


def read_keys(issuer: str) -> dict[str, Any]:
    """Read the issuer's keys."""
    with urllib.request.urlopen(f"{issuer}/.well-known/jwks", timeout=30) as answer:
        listed = json.load(answer)["keys"]
    return {each["kid"]: jwt.PyJWK(each).key for each in listed}


async def main(issuer: str, table: str, launch: str, keys: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    record = {"id": {"S": f"launch#{launch}"}}
    async with get_session().create_client(
        "dynamodb", endpoint_url=table, region_name="eu-central-1", config=CONFIG
    ) as dynamodb:

        async def take(request: web.Request) -> web.Response:
            wanted = json.loads(await request.read())
            token = request.headers["authorization"].partition(" ")[2]
            key = keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token, key, algorithms=["RS256"], issuer=issuer, audience="runner-launcher"
            )
            used = {"id": {"S": f"token#{hashlib.sha256(claims['jti'].encode()).hexdigest()}"}}
            await dynamodb.update_item(
                TableName="launches",
                Key=used,
                UpdateExpression="SET #launch = :launch",
                ConditionExpression="attribute_not_exists(#launch) OR #launch = :launch",
                ExpressionAttributeNames={"#launch": "launch"},
                ExpressionAttributeValues={":launch": {"S": "1"}},
            )
            await dynamodb.get_item(TableName="launches", Key=record, ConsistentRead=True)
            return web.json_response({"labels": wanted["labels"], "state": "starting"})

        application = web.Application(client_max_size=16 * 1024)
        application.router.add_post("/start", take)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"ready http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


if __name__ == "__main__":
    issuer = os.environ["ISSUER"]
    asyncio.run(main(issuer, os.environ["TABLE"], os.environ["LAUNCH"], read_keys(issuer)))
