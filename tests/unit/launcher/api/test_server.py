"""The API behind a port, and as a Lambda function: the same answers, and nothing without end."""

import asyncio
import base64
import json

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from launcher.api import server
from launcher.api.requests import LARGEST
from launcher.api.server import make_application
from launcher.api_function import ApiFunction
from local import aws as local_aws
from sidecar.aws.calls import TransientError
from tests.unit.launcher.api.scene import ISSUER, POOLS, ApiScene


def serve(story):
    """Run a story with an API behind a port."""

    async def run():
        scene = ApiScene(POOLS)
        runner = web.AppRunner(make_application(scene.api), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            await story(scene, session, f"http://127.0.0.1:{runner.addresses[0][1]}")
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_start_comes_in_by_http():
    """With a JSON answer; an error says why, and when to come again."""

    async def story(scene, session, url):
        head = {"Authorization": f"Bearer {scene.mint()}"}
        async with session.post(f"{url}/start", json={"labels": ["small"]}, headers=head) as found:
            assert (found.status, found.content_type) == (200, "application/json")
            assert (await found.json())["state"] == "starting"
        async with session.get(f"{url}/status") as found:
            assert await found.json() == {"status": "ok"}
        scene.keys._fetched_at, scene.keys._keys = -1e9, {}
        async with session.post(f"{url}/start", json={}, headers=head) as found:
            assert (found.status, found.headers["Retry-After"]) == (503, "30")

    serve(story)


def test_a_body_without_end_is_cut():
    """Whether its length is told or not; nothing of it is kept."""

    async def story(scene, session, url):
        async def endless():
            while True:
                yield b" " * 65_536

        for body in (b" " * (LARGEST + 1), endless()):
            try:
                async with session.post(f"{url}/start", data=body) as found:
                    assert found.status == 413
            except aiohttp.ClientError:
                pass  # it was cut while more of it came
        assert scene.started == []

    serve(story)


def test_a_body_that_does_not_come_is_not_awaited(monkeypatch):
    """Its time is over after some seconds."""
    monkeypatch.setattr(server, "READ_WITHIN", 0.05)

    async def story(scene, session, url):
        never = asyncio.Event()

        async def slow():
            yield b"{"
            await never.wait()

        with pytest.raises((aiohttp.ClientError, AssertionError)):
            async with session.post(f"{url}/start", data=slow()) as found:
                assert found.status != 408

    serve(story)


# ---- Lambda --------------------------------------------------------------------------------------


@pytest.fixture
def function(aws, launcher_environment, monkeypatch, tmp_path):
    """Give the function of a container."""
    (tmp_path / "pools.toml").write_text(POOLS)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, launcher_environment[name])
    made = ApiFunction({**launcher_environment, "AWS_REGION": local_aws.REGION})
    yield made
    made.close()


def url_event(method, path, body=b"", **headers):
    """Make an event of a function URL or an HTTP API."""
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": headers,
        "requestContext": {"http": {"method": method}},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def balancer_event(method, path, body=b"", **headers):
    """Make an event of a load balancer that sends each header as a list."""
    many = {key: [value] for key, value in headers.items()}
    return {"httpMethod": method, "path": path, "multiValueHeaders": many, "body": body.decode()}


@pytest.mark.parametrize("make", [url_event, balancer_event])
def test_the_function_answers_as_the_service_does(function, make):
    """A function URL, an HTTP API and a load balancer alike, in the shape that each reads."""
    answer = function.answer(make("GET", "/status"), None)
    assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"status": "ok"})
    assert answer["isBase64Encoded"] is False
    body = json.dumps({"labels": ["small"]}).encode()
    answer = function.answer(make("POST", "/start", body, authorization="Bearer x"), None)
    assert answer["statusCode"] == 401
    assert ("headers" in answer) == (make is url_event)
    assert function.answer(make("POST", "/none"), None)["statusCode"] == 404
    assert function.answer({"rawPath": "/start"}, None)["statusCode"] == 400


def test_the_function_looks_after_open_orders_when_its_schedule_says_so(function):
    """The schedule's event alone does it: a request whose body has the same words does not."""
    parts = function._runner.run(function._open())
    looks = []

    async def tend():
        looks.append("looked")

    parts.orders.tend = tend
    tick = {"kind": "tick"}
    answer = function.answer(url_event("POST", "/start", json.dumps(tick).encode()), None)
    assert (answer["statusCode"], looks) == (401, [])
    assert (function.answer(tick, None), looks) == ({}, ["looked"])

    async def fail():
        raise TransientError("cannot read the launch record")

    parts.orders.tend = fail
    with capture_logs() as events:
        assert function.answer(tick, None) == {}
    assert [each["event"] for each in events] == ["tick.failed"]


def test_the_function_says_when_github_s_keys_cannot_be_had(function, monkeypatch):
    """503, and when to come again: nobody is refused for what GitHub does not do."""
    scene = ApiScene(POOLS)
    parts = function._runner.run(function._open())

    async def fail():
        raise OSError("unreachable")

    parts.api._verifier._keys._fetch = fail
    assert parts.api._verifier._issuer == ISSUER
    event = url_event("POST", "/start", b"{}", authorization=f"Bearer {scene.mint()}")
    answer = function.answer(event, None)
    assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "30")
