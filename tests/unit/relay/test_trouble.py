"""Upstream fails while containers ask: they get credentials until these expire, then 503."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from sidecar import relay

MINUTE = 60.0
HOUR = 60 * MINUTE

FAILURES = {
    "throttled": lambda say: say.answer(429, b"You have reached maximum request limit."),
    "not ready": lambda say: say.answer(503, b'{"code":"CredentialsUninitialized"}'),
    "broken": lambda say: say.answer(500, b'{"code":"InternalServerError"}'),
    "forgotten": lambda say: say.answer(400, b'{"code":"InvalidIdInRequest"}'),
    "expired": lambda say: say.good(say.start - 1),
    "nonsense": lambda say: say.answer(200, b"<html>"),
    "cut off": lambda say: say.good()[:-1],
}


async def ask(served, path=None) -> tuple[int, dict]:
    """Ask as a container does; return status and document."""
    reader, writer = await asyncio.open_connection(served.host, served.port)
    try:
        target = path or served.relative_uri
        writer.write(f"GET {target} HTTP/1.0\r\nHost: 169.254.170.2\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), json.loads(body)


async def ask_each_minute(fake, served, minutes: int) -> list[str]:
    """Ask once a minute; return the end of each key id, or of each error code."""
    found = []
    for _ in range(minutes):
        await fake.advance(MINUTE)
        status, document = await ask(served)
        assert status == (200 if "AccessKeyId" in document else 503)
        found.append(document.get("AccessKeyId", document.get("Code"))[-4:])
    return found


@pytest.mark.parametrize("failure", FAILURES)
def test_an_hour_of_failures(run, upstream, say, time, hasty, failure):
    """Clients notice nothing until the credentials expire, and get new ones soon after the end.

    Meanwhile upstream is asked with pauses, and the log does not fill.
    """

    async def case():
        fake = time()
        async with (
            upstream(say.good(say.start + HOUR), FAILURES[failure](say)) as up,
            relay.serving(
                up.endpoint,
                "127.0.0.1",
                0,
                clock=fake.clock,
                pace=hasty._replace(tries=1),
                jitter=lambda low, _: low,
            ) as served,
        ):
            await served.wait_until_fetched(20)
            with capture_logs() as logs:
                before = await ask_each_minute(fake, served, 59)
                during = await ask_each_minute(fake, served, 46)
                calls = len(up.heads)
                up.answers = [say.good(say.start + 9 * HOUR, 2)]
                await fake.advance(5)
                await fake.advance(1)
                after = await ask(served)
            return before, during, after[1]["AccessKeyId"][-4:], calls, logs

    before, during, after, calls, logs = run(case())
    assert before == ["0001"] * 59
    assert during == ["ized"] * 46  # CredentialsUninitialized
    assert after == "0002"
    # 15 minutes with pauses of up to a minute, 45 with pauses of up to 5 s; both half by jitter.
    assert 300 < calls < 1200
    warnings = [line for line in logs if line["event"] == "relay.refresh_failed"]
    assert 0 < len(warnings) <= 61
    assert len(logs) <= 200


@pytest.mark.alone
def test_an_upstream_that_hangs_delays_no_client(run, upstream, say, time, hasty):
    """A client is answered at once, or within the limit of `patience_seconds`."""

    async def case():
        fake, loop = time(), asyncio.get_running_loop()
        async with (
            upstream(say.good(say.start + HOUR), None) as up,
            relay.serving(
                up.endpoint,
                "127.0.0.1",
                0,
                clock=fake.clock,
                pace=hasty._replace(try_timeout=60.0),
                jitter=lambda low, _: low,
            ) as served,
            asyncio.TaskGroup() as group,
        ):
            await served.wait_until_fetched(20)
            await fake.advance(44 * MINUTE)
            going_on = group.create_task(fake.advance(HOUR))
            await up.hanging.wait()
            found, took = [], []
            for passed in (0, HOUR):
                fake.now += passed
                began = loop.time()
                found.append((await ask(served))[0])
                took.append(loop.time() - began)
            going_on.cancel()
            return found, took

    found, took = run(case())
    assert found == [200, 503]
    assert max(took) < 1.0  # in fact 40 ms, but the machine is shared


def test_clients_wait_for_the_first_fetch(run, upstream, say):
    """Requests before the first fetch ends get its credentials."""

    async def case():
        async with (
            upstream(None) as up,
            relay.serving(
                up.endpoint,
                "127.0.0.1",
                0,
                clock=relay.Clock(lambda: say.start),
                pace=relay.Pace(try_timeout=60.0),  # one that is cut would be one more call
                limits=relay.LIMITS._replace(patience_seconds=60.0),
            ) as served,
            asyncio.TaskGroup() as group,
        ):
            await up.hanging.wait()
            clients = [group.create_task(ask(served)) for _ in range(100)]
            for _ in range(200):  # most of them wait by then; later ones are answered, too
                await asyncio.sleep(0)
            up.release(say.good())
            return [(await one)[0] for one in clients], len(up.heads)

    assert run(case()) == ([200] * 100, 1)


def test_the_wait_for_a_fetch_has_an_end(run, upstream, say):
    """If upstream does not answer in time, the client gets one 503, with one event."""

    async def case():
        async with (
            upstream(None) as up,
            relay.serving(
                up.endpoint, "127.0.0.1", 0, clock=relay.Clock(lambda: say.start)
            ) as served,
        ):
            await up.hanging.wait()
            with capture_logs() as logs:
                status, document = await ask(served)
            return status, document["Code"], logs, dict(served.counts.answers)

    status, code, logs, answers = run(case())
    assert (status, code) == (503, "CredentialsUninitialized")
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("relay.refused", "no credentials yet")
    ]
    assert answers == {("ecs", 503): 1}
