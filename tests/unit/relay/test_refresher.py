"""The refresher: one fetch for all clients, in time, and credentials served until they expire."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.errors import RelayError
from sidecar.relay import Endpoint, running_beside
from sidecar.relay.refresher import Refresher

HOUR = 3600.0


def no_jitter(low: float, _high: float) -> float:
    """Return the lower bound."""
    return low


@asynccontextmanager
async def refreshing(endpoint, time, pace, jitter=no_jitter):
    """Run a refresher on a fake clock; give both."""
    fake = time()
    refresher = Refresher(endpoint, fake.clock, pace, jitter)
    async with running_beside(refresher.run()):
        yield refresher, fake


def test_any_number_of_waiters_share_one_fetch(run, upstream, say, time, hasty):
    """500 that wait for the first credentials cause one call."""

    async def case():
        async with (
            upstream(None) as served,
            refreshing(served.endpoint, time, hasty) as (refresher, _),
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
    """It begins 15 to 18 minutes before expiry, or after half the lifetime if that is later."""

    def jittered(low, high):
        return high if jitter else low

    async def case():
        first, second = say.good(say.start + lifetime), say.good(say.start + 9 * HOUR, 2)
        async with (
            upstream(first, second) as served,
            refreshing(served.endpoint, time, hasty, jittered) as (refresher, fake),
        ):
            await refresher.wait_until_fetched(20)
            await fake.advance(lifetime - lead - 1)
            before = len(served.heads), refresher.current().key_end
            await fake.advance(1)
            await fake.advance(0.5)  # until it waits again
            return before, (len(served.heads), refresher.current().key_end)

    assert run(case()) == ((1, "0001"), (2, "0002"))


def test_an_upstream_that_repeats_a_version_is_asked_a_few_times(run, upstream, say, time, hasty):
    """The pauses get shorter towards the expiry, but never shorter than a retry."""

    async def case():
        async with (
            upstream(say.good(say.start + HOUR)) as served,
            refreshing(served.endpoint, time, hasty) as (refresher, fake),
        ):
            await refresher.wait_until_fetched(20)
            await fake.advance(HOUR - 0.5)
            return len(served.heads), refresher.current() is not None

    calls, held = run(case())
    assert held
    assert 8 <= calls <= 14


def test_credentials_are_served_until_they_expire(run, upstream, say, time, hasty):
    """In an outage: the old ones, with a warning a minute; then none; then the new ones."""

    async def case():
        failure = say.answer(500, b'{"code":"InternalServerError"}')
        async with (
            upstream(say.good(say.start + HOUR), failure) as served,
            refreshing(served.endpoint, time, hasty._replace(tries=1)) as (refresher, fake),
        ):
            await refresher.wait_until_fetched(20)
            with capture_logs() as logs:
                await fake.advance(HOUR - 1)
                while_held = refresher.state
                assert refresher.current().key_end == "0001"
                await fake.advance(1)
                assert refresher.current() is None
                ended = refresher.state
                await fake.advance(HOUR)
            calls = len(served.heads)
            served.answers = [say.good(say.start + 9 * HOUR, 2)]
            await fake.advance(10)
            assert refresher.current().key_end == "0002"
            return while_held, ended, refresher.state, logs, calls

    while_held, ended, after, logs, calls = run(case())
    assert (while_held.held, while_held.seconds_left) == (True, 1.0)
    assert while_held.failure.endswith("answered 500 InternalServerError")
    assert (ended.held, ended.seconds_left, ended.age) == (False, 0.0, HOUR)
    assert after.held
    assert after.failure is None
    warnings = [line for line in logs if line["event"] == "relay.refresh_failed"]
    assert 50 <= len(warnings) <= 77  # 75 minutes of failures
    assert {line["log_level"] for line in warnings} == {"warning"}
    assert warnings[0]["seconds_left"] == 15 * 60
    assert warnings[-1]["seconds_left"] is None
    # 15 minutes with pauses of up to a minute, an hour with 5 s; jitter may halve both.
    assert calls < 60 + 1500


def test_pauses_grow_while_there_are_credentials(run, upstream, say, time, hasty):
    """From a second to a minute between fetches, with three quick tries in each."""

    async def case():
        failure = say.answer(503, b'{"code":"CredentialsUninitialized"}')
        async with (
            upstream(say.good(say.start + 2 * HOUR), failure) as served,
            refreshing(served.endpoint, time, hasty, lambda _, high: high) as (refresher, fake),
        ):
            await refresher.wait_until_fetched(20)
            await fake.advance(2 * HOUR - 18 * 60)
            counts = []
            for seconds in (0.5, 1, 2, 4, 8, 16, 32, 60, 60):
                await fake.advance(seconds)
                counts.append(len(served.heads) - 1)
            return counts

    assert run(case()) == [3, 6, 9, 12, 15, 18, 21, 24, 27]


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param((429, b"You have reached maximum request limit."), id="throttled"),
        pytest.param((503, b""), id="not ready"),
        pytest.param((200, b"<html>"), id="malformed"),
        pytest.param("expired", id="expired"),
        pytest.param(b"", id="closed"),
    ],
)
def test_a_transient_failure_is_retried_at_once(run, upstream, say, time, hasty, failure):
    """Two failures and a success are one fetch."""

    async def case():
        bad = failure
        if failure == "expired":
            bad = say.good(say.start - 1)
        elif isinstance(failure, tuple):
            bad = say.answer(*failure)
        async with (
            upstream(bad, bad, say.good()) as served,
            refreshing(served.endpoint, time, hasty) as (refresher, _),
        ):
            await refresher.wait_until_fetched(20)
            return len(served.heads), refresher.state.failure

    assert run(case()) == (3, None)


def test_a_rejection_ends_the_wait_at_once_and_is_retried_later(run, upstream, say, time, hasty):
    """A 400 ends the wait. But a restarted ECS agent answers it too, so it is asked again."""

    async def case():
        reject = say.answer(400, b'{"code":"InvalidIdInRequest"}')
        async with (
            upstream(reject, say.good()) as served,
            refreshing(served.endpoint, time, hasty) as (refresher, fake),
        ):
            with pytest.raises(RelayError) as caught:
                await refresher.wait_until_fetched(20)
            assert len(served.heads) == 1
            await fake.advance(5)
            await refresher.wait_until_fetched(20)
            return str(caught.value), served.where

    message, where = run(case())
    assert message == (
        f"cannot get credentials to relay: {where} answered 400 InvalidIdInRequest "
        "(check AWS_CONTAINER_CREDENTIALS_FULL_URI, or set SIDECAR_RELAY=off to go without)"
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(None, "no answer from "), (b"", "cannot reach ")],
    ids=["hangs", "closes"],
)
def test_the_wait_for_the_first_fetch_has_an_end(run, upstream, time, hasty, answer, reason):
    """The error says how long, why, and which setting to check; it has no secret."""

    async def case():
        async with (
            upstream(answer) as served,
            refreshing(served.endpoint, time, hasty) as (refresher, _),
        ):
            if answer is not None:
                failed = asyncio.Event()
                refresher.on_change = failed.set
                await failed.wait()  # else the wait may end before there is a reason
            with pytest.raises(RelayError) as caught:
                await refresher.wait_until_fetched(0.3)
            return str(caught.value), served.where

    message, where = run(case())
    assert message.startswith(f"cannot get credentials to relay within 0.3 s: {reason}{where}")
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in message
    assert "SECRET" not in message


def test_an_upstream_that_hangs_costs_one_try_not_the_fetch(run, upstream, say, time, hasty):
    """The try ends by its timeout and is repeated."""
    pace = SimpleNamespace(**hasty._replace(try_timeout=1.0)._asdict())

    async def case():
        async with (
            upstream(None, say.good()) as served,
            refreshing(served.endpoint, time, pace) as (refresher, _),
        ):
            await served.hanging.wait()
            pace.try_timeout = 60.0  # the second try ends well, however busy the machine is
            await refresher.wait_until_fetched(60)
            return len(served.heads)

    assert run(case()) == 2


def test_a_bug_does_not_end_the_refresher(run, upstream, say, time, hasty):
    """Any exception in a fetch is logged, and the next fetch is made."""

    async def case():
        broken = [True]

        async with upstream(say.good()) as served:
            fake = time()

            def now():
                if broken and asyncio.current_task() is not me:
                    broken.pop()
                    raise ZeroDivisionError
                return fake.now

            me = asyncio.current_task()
            refresher = Refresher(served.endpoint, fake.clock._replace(now=now), hasty, no_jitter)
            with capture_logs() as logs:
                async with running_beside(refresher.run()):
                    await fake.advance(2)
                    await refresher.wait_until_fetched(20)
            return [(line["event"], line["log_level"]) for line in logs]

    assert run(case()) == [
        ("relay.refresh_failed", "error"),
        ("relay.refresh_failed", "warning"),
        ("relay.credentials_fetched", "info"),
    ]


def test_a_jump_of_the_clock_is_noticed(run, upstream, say, time, hasty):
    """After a suspension, expired credentials are replaced within a minute."""

    async def case():
        first, second = say.good(say.start + 6 * HOUR), say.good(say.start + 12 * HOUR, 2)
        async with (
            upstream(first, second) as served,
            refreshing(served.endpoint, time, hasty) as (refresher, fake),
        ):
            await refresher.wait_until_fetched(20)
            await fake.advance(10)
            fake.now += 7 * HOUR
            assert refresher.current() is None
            await fake.advance(0)
            await fake.advance(0)
            await refresher.wait_until_fetched(20)
            return refresher.current().key_end

    assert run(case()) == "0002"


def test_no_event_has_a_secret(run, upstream, say, time, hasty):
    """Events have upstream, role and the last four characters of the key id; no path, no keys."""

    async def case():
        failure = say.answer(500, b'{"code":"SECRET KEY"}')
        with capture_logs() as logs:
            async with (
                upstream(failure, failure, failure, say.good()) as served,
                refreshing(served.endpoint, time, hasty) as (refresher, fake),
            ):
                await fake.advance(2)
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
    """The proxy variables of a container are ignored."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def case():
        async with (
            upstream(say.good()) as served,
            refreshing(served.endpoint, time, hasty) as (refresher, _),
        ):
            await refresher.wait_until_fetched(20)

    run(case())


def test_the_state_before_the_first_fetch(time, hasty):
    """It says that there are no credentials, and nothing else."""

    async def case():
        return Refresher(Endpoint("http://127.0.0.1:9/x"), time().clock, hasty).state

    assert asyncio.run(case()) == (False, None, None, None)
