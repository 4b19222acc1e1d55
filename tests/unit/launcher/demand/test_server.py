"""The webhook as a service: bounded bodies, bounded memory."""

import asyncio
import io

import pytest
from aiohttp.test_utils import TestClient, TestServer

from launcher.demand import server
from launcher.demand.delivery import LARGEST
from launcher.demand.webhook import Webhook
from tests.unit.launcher.demand.deliveries import SECRET, deliver, payload


def post(headers, body, **more):
    """Post one delivery to a real server; return the status and what was sent."""
    sent = []

    async def keep(demand):
        sent.append(demand.job_id)

    async def life():
        application = server.make_application(Webhook([SECRET], keep), **more)
        async with TestClient(TestServer(application)) as client:
            answer = await client.post("/webhook", headers=headers, data=body)
            return answer.status

    return asyncio.run(asyncio.wait_for(life(), 60)), sent


def test_a_delivery_is_taken():
    """With the bytes as they came."""
    assert post(*deliver(payload())) == (202, [11])


def test_a_body_without_a_signature_is_not_read():
    """The answer comes from the headers alone."""
    headers, body = deliver(payload())
    del headers["x-hub-signature-256"]
    assert post(headers, body) == (401, [])


@pytest.mark.parametrize("chunked", [True, False])
def test_more_than_25_mb_is_refused(chunked):
    """Whether the length is given or not."""

    async def stream():
        for _ in range(26):
            yield bytes(1024 * 1024)

    headers, _ = deliver(payload())
    assert post(headers, stream() if chunked else io.BytesIO(bytes(LARGEST + 1))) == (413, [])


def test_all_bodies_together_are_bounded():
    """A stranger with many connections gets 503, and the service lives on."""
    headers, body = deliver(payload())
    assert post(headers, body, memory=len(body) - 1) == (503, [])
    assert post(headers, body, memory=len(body)) == (202, [11])


def test_a_slow_body_ends(monkeypatch):
    """One that never comes whole holds its connection for a bounded time."""
    monkeypatch.setattr(server, "READ_WITHIN", 0.1)

    async def stream():
        yield b"{"
        await asyncio.Event().wait()

    assert post(deliver(payload())[0], stream()) == (408, [])
