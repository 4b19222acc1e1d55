"""The instance metadata service, as AWS describes it: a token first, then the notice."""

from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from sidecar.aws.instance_metadata import MetadataError, has_spot_notice
from tests.support.loops import on_both, run


@asynccontextmanager
async def instance(*answers):
    """Serve instance metadata; `answers`: statuses of the notice, or a fault of the token."""
    left = list(answers)

    async def token(request):
        assert request.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60"
        if left and left[0] in ("no token", "bad token"):
            return web.Response(status=403 if left.pop(0) == "no token" else 200, body=b"a\nb\xff")
        return web.Response(text="TOKEN")

    async def notice(request):
        if request.headers.get("X-aws-ec2-metadata-token") != "TOKEN":
            return web.Response(status=401)
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.json_response({"action": "terminate"}, status=status)

    app = web.Application()
    app.router.add_put("/latest/api/token", token)
    app.router.add_get("/latest/meta-data/spot/instance-action", notice)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@on_both
@pytest.mark.parametrize(("status", "noticed"), [(200, True), (404, False), (500, False)])
def test_only_200_is_a_notice(loop, status, noticed):
    """IMDSv2: the token of the first request goes with the second."""

    async def play():
        async with instance(status) as url:
            assert await has_spot_notice(url) is noticed

    run(loop, play())


@pytest.mark.parametrize("fault", ["no token", "bad token"])
def test_without_a_token_nothing_is_known(fault):
    """Refused, or not the text of a header."""

    async def play():
        async with instance(fault) as url:
            with pytest.raises(MetadataError):
                await has_spot_notice(url)

    run("asyncio", play())


def test_where_nothing_answers_nothing_is_known():
    """As on Fargate, or where rules refuse it."""

    async def play():
        with pytest.raises(MetadataError):
            await has_spot_notice("http://127.0.0.1:9")

    run("asyncio", play())
