"""Keeping credentials fresh: one flight, refreshed in time, served until they end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from sidecar.errors import RelayError
from sidecar.relay import Endpoint, running_beside
from sidecar.relay.refresher import Refresher

HOUR = 3600.0


def least(low: float, _high: float) -> float:
    """Jitter nothing."""
    return low


@asynccontextmanager
async def keeping(endpoint, time, pace, jitter=least):
    """Keep credentials on a clock of our own; gives the keeper and the clock."""
    moved = time()
    refresher = Refresher(endpoint, moved.clock, pace, jitter)
    async with running_beside(refresher.run()):
        yield refresher, moved


def test_any_number_of_askers_is_one_flight(run, upstream, say, time, hasty):
    """500 who wait for the first credentials share one call."""

    async def case():
        async with (
            upstream(None) as served,
            keeping(served.endpoint, time, hasty) as (refresher, _),
            asyncio.TaskGroup() as group,
        ):
            asking = [group.create_task(refresher.wait_until_fetched(20)) for _ in range(500)]
            await served.hanging.wait()
            served.release(say.good())
            got = [(await one).key_end for one in asking]
            return got, len(served.heads)

    got, calls = run(case())
    assert got == ["0001"] * 500
    assert calls == 1


@pytest.mark.parametrize(
    ("lifetime", "jitter", "lead"),
    [
        (6 * HOUR, 0, 15 * 60),
        (6 * HOUR, 1, 18 * 60),
        (20 * 60, 0, 10 * 60),
        (30 * 60, 1, 15 * 60),
        (60, 0, 30),
    ],
)
def test_a_refresh_comes_in_time(run, upstream, say, time, hasty, lifetime, jitter, lead):
    """It is 15 to 18 minutes before expiry, or at half the lifetime if that is later."""

    def jittered(low, high):
        return high if jitter else low

    async def case():
        first, second = say.good(say.start + lifetime), say.good(say.start + 9 * HOUR, 2)
        async with (
            upstream(first, second) as served,
            keeping(served.endpoint, time, hasty, jittered) as (refresher, moved),
        ):
            await refresher.wait_until_fetched(20)
            await moved.advance(lifetime - lead - 1)
            before = len(served.heads), refresher.current().key_end
            await moved.advance(1)
            await moved.advance(0.5)  # until it waits again
            return before, (len(served.heads), refresher.current().key_end)

    assert run(case()) == ((1, "0001"), (2, "0002"))


def test_the_same_version_again_is_not_asked_for_in_a_rush(run, upstream, say, time, hasty):
    """An upstream that renews late is asked at ever shorter spans, yet a few times in all."""

    async def case():
        async with (
            upstream(say.good(say.start + HOUR)) as served,
            keeping(served.endpoint, time, hasty) as (refresher, moved),
        ):
            await refresher.wait_until_fetched(20)
            await moved.advance(HOUR - 0.5)
            return len(served.heads), refresher.current() is not None

    calls, held = run(case())
    assert held
    assert 8 <= calls <= 14


def test_what_is_held_is_served_until_it_ends(run, upstream, say, time, hasty):
    """Through an outage: what is held, with a warning a minute; then nothing; then the new one."""

    async def case():
        trouble = say.answer(500, b'{"code":"InternalServerError"}')
        async with (
            upstream(say.good(say.start + HOUR), trouble) as served,
            keeping(served.endpoint, time, hasty._replace(tries=1)) as (refresher, moved),
        ):
            await refresher.wait_until_fetched(20)
            with capture_logs() as logs:
                await moved.advance(HOUR - 1)
                while_held = refresher.state
                assert refresher.current().key_end == "0001"
                await moved.advance(1)
                assert refresher.current() is None
                ended = refresher.state
                await moved.advance(HOUR)
            calls = len(served.heads)
            served.answers = [say.good(say.start + 9 * HOUR, 2)]
            await moved.advance(10)
            assert refresher.current().key_end == "0002"
            return while_held, ended, refresher.state, logs, calls

    while_held, ended, after, logs, calls = run(case())
    assert (while_held.held, while_held.seconds_left) == (True, 1.0)
    assert while_held.failure.endswith("answered 500 InternalServerError")
    assert (ended.held, ended.seconds_left, ended.age) == (False, 0.0, HOUR)
    assert after.held
    assert after.failure is None
    warnings = [line for line in logs if line["event"] == "relay.refresh_failed"]
    assert 50 <= len(warnings) <= 77  # 75 minutes of trouble
    assert {line["log_level"] for line in warnings} == {"warning"}
    assert warnings[0]["seconds_left"] == 15 * 60
    assert warnings[-1]["seconds_left"] is None
    # 15 minutes at up to a minute, an hour at 5 s; both halved, the lower end of their jitter.
    assert calls < 60 + 1500


def test_tries_thin_out_while_there_is_something_to_serve(run, upstream, say, time, hasty):
    """From a second to a minute between flights, three quick tries in each, never a rush."""

    async def case():
        trouble = say.answer(503, b'{"code":"CredentialsUninitialized"}')
        async with (
            upstream(say.good(say.start + 2 * HOUR), trouble) as served,
            keeping(served.endpoint, time, hasty, lambda _, high: high) as (refresher, moved),
        ):
            await refresher.wait_until_fetched(20)
            await moved.advance(2 * HOUR - 18 * 60)
            counts = []
            for seconds in (0.5, 1, 2, 4, 8, 16, 32, 60, 60):
                await moved.advance(seconds)
                counts.append(len(served.heads) - 1)
            return counts

    assert run(case()) == [3, 6, 9, 12, 15, 18, 21, 24, 27]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param((429, b"You have reached maximum request limit."), id="throttled"),
        pytest.param((503, b""), id="not ready"),
        pytest.param((200, b"<html>"), id="malformed"),
        pytest.param("expired", id="expired"),
        pytest.param(b"", id="closed"),
    ],
)
def test_a_passing_trouble_is_retried_at_once(run, upstream, say, time, hasty, trouble):
    """Two bad answers and a good one are one flight: nobody waits for the next."""

    async def case():
        bad = trouble
        if trouble == "expired":
            bad = say.good(say.start - 1)
        elif isinstance(trouble, tuple):
            bad = say.answer(*trouble)
        async with (
            upstream(bad, bad, say.good()) as served,
            keeping(served.endpoint, time, hasty) as (refresher, _),
        ):
            await refresher.wait_until_fetched(20)
            return len(served.heads), refresher.state.failure

    assert run(case()) == (3, None)


def test_a_rejection_is_told_at_once_and_asked_again_later(run, upstream, say, time, hasty):
    """A 400 ends the waiting; but a restarted agent, which says it too, is asked again."""

    async def case():
        reject = say.answer(400, b'{"code":"InvalidIdInRequest"}')
        async with (
            upstream(reject, say.good()) as served,
            keeping(served.endpoint, time, hasty) as (refresher, moved),
        ):
            with pytest.raises(RelayError) as caught:
                await refresher.wait_until_fetched(20)
            assert len(served.heads) == 1
            await moved.advance(5)
            await refresher.wait_until_fetched(20)
            return str(caught.value), served.where

    said, where = run(case())
    assert said == (
        f"cannot get credentials to relay: {where} answered 400 InvalidIdInRequest "
        "(check AWS_CONTAINER_CREDENTIALS_FULL_URI, or set SIDECAR_RELAY=off to go without)"
    )


@pytest.mark.parametrize(
    ("answer", "why"), [(None, "no answer from "), (b"", "cannot reach ")], ids=["hangs", "closes"]
)
def test_waiting_for_warmth_has_an_end(run, upstream, time, hasty, answer, why):
    """The error says how long, why, and what to look at; and no secret."""

    async def case():
        async with (
            upstream(answer) as served,
            keeping(served.endpoint, time, hasty) as (refresher, _),
        ):
            with pytest.raises(RelayError) as caught:
                await refresher.wait_until_fetched(0.3)
            return str(caught.value), served.where

    said, where = run(case())
    assert said.startswith(f"cannot get credentials to relay within 0.3 s: {why}{where}")
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in said
    assert "SECRET" not in said


def test_a_hanging_upstream_costs_one_try_not_the_flight(run, upstream, say, time, hasty):
    """After its time-out the try is repeated."""

    async def case():
        async with (
            upstream(None, say.good()) as served,
            keeping(served.endpoint, time, hasty._replace(try_timeout=0.1)) as (refresher, _),
        ):
            await refresher.wait_until_fetched(20)
            return len(served.heads)

    assert run(case()) == 2


def test_a_mistake_in_the_agent_does_not_end_the_keeping(run, upstream, say, time, hasty):
    """Whatever an attempt raises is logged, and the next one is made."""

    async def case():
        broken = [True]

        async with upstream(say.good()) as served:
            moved = time()

            def now():
                if broken and asyncio.current_task() is not me:
                    broken.pop()
                    raise ZeroDivisionError
                return moved.now

            me = asyncio.current_task()
            refresher = Refresher(served.endpoint, moved.clock._replace(now=now), hasty, least)
            with capture_logs() as logs:
                async with running_beside(refresher.run()):
                    await moved.advance(2)
                    await refresher.wait_until_fetched(20)
            return [(line["event"], line["log_level"]) for line in logs]

    assert run(case()) == [
        ("relay.refresh_failed", "error"),
        ("relay.refresh_failed", "warning"),
        ("relay.credentials_fetched", "info"),
    ]


def test_a_clock_that_jumps_is_followed(run, upstream, say, time, hasty):
    """After a suspension, what has ended is replaced within a minute of waking."""

    async def case():
        first, second = say.good(say.start + 6 * HOUR), say.good(say.start + 12 * HOUR, 2)
        async with (
            upstream(first, second) as served,
            keeping(served.endpoint, time, hasty) as (refresher, moved),
        ):
            await refresher.wait_until_fetched(20)
            await moved.advance(10)
            moved.now += 7 * HOUR
            assert refresher.current() is None
            await moved.advance(0)
            await moved.advance(0)
            await refresher.wait_until_fetched(20)
            return refresher.current().key_end

    assert run(case()) == "0002"


def test_no_event_tells_a_secret(run, upstream, say, time, hasty):
    """Events name the upstream, the role and the key's last four; neither path nor keys."""

    async def case():
        trouble = say.answer(500, b'{"code":"SECRET KEY"}')
        with capture_logs() as logs:
            async with (
                upstream(trouble, trouble, trouble, say.good()) as served,
                keeping(served.endpoint, time, hasty) as (refresher, moved),
            ):
                await moved.advance(2)
                await refresher.wait_until_fetched(20)
        return logs

    logs = run(case())
    assert [line["event"] for line in logs if line["event"].startswith("relay")] == [
        "relay.refresh_failed",
        "relay.credentials_fetched",
    ]
    assert logs[-1]["key_end"] == "0001"
    assert logs[-1]["role"] == "arn:aws:iam::123456789012:role/task"
    assert not [word for word in ("SECRET", "SESSION-TOKEN", "ASIATEST") if word in str(logs)]


def test_a_proxy_never_sees_a_request(run, upstream, say, time, hasty, monkeypatch):
    """Proxy variables, which a container may carry, are not for this."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def case():
        async with (
            upstream(say.good()) as served,
            keeping(served.endpoint, time, hasty) as (refresher, _),
        ):
            await refresher.wait_until_fetched(20)

    run(case())


def test_nothing_was_asked_yet(time, hasty):
    """Before the first flight the state says that nothing is held, and nothing else."""

    async def case():
        return Refresher(Endpoint("http://127.0.0.1:9/x"), time().clock, hasty).state

    assert asyncio.run(case()) == (False, None, None, None)
