"""Upstream in trouble while containers ask: they get what is held until it ends, then 503."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from sidecar import relay

MINUTE = 60.0
HOUR = 60 * MINUTE

TROUBLES = {
    "throttled": lambda say: say.answer(429, b"You have reached maximum request limit."),
    "not ready": lambda say: say.answer(503, b'{"code":"CredentialsUninitialized"}'),
    "broken": lambda say: say.answer(500, b'{"code":"InternalServerError"}'),
    "forgotten": lambda say: say.answer(400, b'{"code":"InvalidIdInRequest"}'),
    "expired": lambda say: say.good(say.start - 1),
    "nonsense": lambda say: say.answer(200, b"<html>"),
    "cut off": lambda say: say.good()[:-1],
}


async def ask(served, path=None) -> tuple[int, dict]:
    """Ask as a container does; gives status and document."""
    reader, writer = await asyncio.open_connection(served.host, served.port)
    try:
        target = path or served.relative_uri
        writer.write(f"GET {target} HTTP/1.0\r\nHost: 169.254.170.2\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), json.loads(body)


async def passing(moved, served, minutes: int) -> list[str]:
    """Let time pass, asking each minute; gives what each got, a key's end or an error's code."""
    found = []
    for _ in range(minutes):
        await moved.advance(MINUTE)
        status, document = await ask(served)
        assert status == (200 if "AccessKeyId" in document else 503)
        found.append(document.get("AccessKeyId", document.get("Code"))[-4:])
    return found


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_hour_of_trouble(run, upstream, say, time, hasty, trouble):
    """Nobody notices until what is held has ended; and soon after upstream is back all is well.

    Meanwhile upstream is not asked without a pause, and the log does not fill.
    """

    async def case():
        moved = time()
        async with (
            upstream(say.good(say.start + HOUR), TROUBLES[trouble](say)) as up,
            relay.serving(
                up.endpoint,
                "127.0.0.1",
                0,
                clock=moved.clock,
                pace=hasty._replace(tries=1),
                jitter=lambda low, _: low,
            ) as served,
        ):
            await served.wait_until_fetched(20)
            with capture_logs() as logs:
                before = await passing(moved, served, 59)
                during = await passing(moved, served, 46)
                calls = len(up.heads)
                up.answers = [say.good(say.start + 9 * HOUR, 2)]
                await moved.advance(5)
                await moved.advance(1)
                after = await ask(served)
            return before, during, after[1]["AccessKeyId"][-4:], calls, logs

    before, during, after, calls, logs = run(case())
    assert before == ["0001"] * 59
    assert during == ["ized"] * 46  # CredentialsUninitialized
    assert after == "0002"
    # 15 minutes with pauses of up to a minute, 45 with pauses of up to 5 s; both half by jitter.
    assert 300 < calls < 1200
    told = [line for line in logs if line["event"] == "relay.refresh_failed"]
    assert 0 < len(told) <= 61
    assert len(logs) <= 200


def test_an_upstream_that_hangs_holds_nobody_up(run, upstream, say, time, hasty):
    """While it is waited for, who asks is answered at once, or within the relay's patience."""

    async def case():
        moved, loop = time(), asyncio.get_running_loop()
        async with (
            upstream(say.good(say.start + HOUR), None) as up,
            relay.serving(
                up.endpoint,
                "127.0.0.1",
                0,
                clock=moved.clock,
                pace=hasty._replace(try_timeout=60.0),
                jitter=lambda low, _: low,
            ) as served,
            asyncio.TaskGroup() as group,
        ):
            await served.wait_until_fetched(20)
            await moved.advance(44 * MINUTE)
            going_on = group.create_task(moved.advance(HOUR))
            await up.hanging.wait()
            found, took = [], []
            for passed in (0, HOUR):
                moved.now += passed
                began = loop.time()
                found.append((await ask(served))[0])
                took.append(loop.time() - began)
            going_on.cancel()
            return found, took

    found, took = run(case())
    assert found == [200, 503]
    assert max(took) < 1.0  # in fact 40 ms, but the machine is shared


def test_the_whole_crowd_waits_for_one_flight(run, upstream, say):
    """Who asks while nothing is there yet gets the answer that is on its way."""

    async def case():
        async with (
            upstream(None) as up,
            relay.serving(
                up.endpoint,
                "127.0.0.1",
                0,
                clock=relay.Clock(lambda: say.start),
                limits=relay.LIMITS._replace(patience_seconds=20.0),
            ) as served,
            asyncio.TaskGroup() as group,
        ):
            await up.hanging.wait()
            crowd = [group.create_task(ask(served)) for _ in range(100)]
            for _ in range(200):  # most of them wait by then; who comes later is served, too
                await asyncio.sleep(0)
            up.release(say.good())
            return [(await one)[0] for one in crowd], len(up.heads)

    assert run(case()) == ([200] * 100, 1)


def test_patience_ends(run, upstream, say):
    """An upstream that does not answer in that moment is not waited for: 503, once, told once."""

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
    assert [(line["event"], line["why"]) for line in logs] == [
        ("relay.refused", "no credentials yet")
    ]
    assert answers == {("ecs", 503): 1}
