"""The watches: three limits, a deregistered runner, a Spot notice."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar.aws.instance_metadata import REBALANCE, SPOT_NOTICE, MetadataError
from sidecar.errors import Exit, TokenError
from sidecar.github import TransientError
from sidecar.lifecycle import watches
from sidecar.lifecycle.watches import Cause, WatchCause, Watches
from sidecar.phase import Phase
from sidecar.runner.listener import Listener
from tests.support.loops import on_both, run


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Look often."""
    monkeypatch.setattr(watches, "LOOKUP_EVERY", 0.01)
    monkeypatch.setattr(watches, "SPOT_EVERY", 0.01)


def listener(*, ready_for_jobs=True, busy=False):
    """Make a listener, as far as a watch needs one."""
    made = SimpleNamespace(
        ready_for_jobs=asyncio.Event(),
        job=asyncio.Event(),
        busy=busy,
        session_open=asyncio.Event(),
        session_lost=asyncio.Event(),
    )
    (made.session_open if ready_for_jobs else made.session_lost).set()
    if ready_for_jobs:
        made.ready_for_jobs.set()
    return made


async def wait_for_cause(wanted, listener_, *, within=20.0, born=None):
    """Return the first cause; None if there is none within the time."""
    born = asyncio.get_running_loop().time() if born is None else born
    tasks = list(wanted.start(listener_, born))
    done, _ = await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return next((task.result() for task in done), None)


def test_by_default_nothing_is_watched():
    """A life then waits for its job for ever."""

    async def play():
        assert list(Watches().start(listener(), 0.0)) == []

    run("asyncio", play())


@on_both
def test_the_idle_limit_counts_from_the_first_wait_for_a_job(loop):
    """A runner that is not connected yet is not idle; one with a job never is."""

    async def play():
        limit = Watches(idle=0.05)
        assert await wait_for_cause(limit, listener()) is Cause.IDLE
        assert await wait_for_cause(limit, listener(ready_for_jobs=False), within=0.3) is None
        with_job = listener()
        with_job.job.set()
        assert await wait_for_cause(limit, with_job, within=0.3) is None

    run(loop, play())


@on_both
def test_the_lifetime_counts_from_the_start_of_the_life(loop):
    """Whatever the runner does; a limit that has passed ends the life at once."""

    async def play():
        now = asyncio.get_running_loop().time()
        limit = Watches(lifetime=100.0)
        assert (
            await wait_for_cause(limit, listener(ready_for_jobs=False), born=now - 99.9)
            is Cause.LIFETIME
        )
        assert await wait_for_cause(limit, listener(busy=True), born=now - 1000) is Cause.LIFETIME
        assert await wait_for_cause(limit, listener(), within=0.1) is None

    run(loop, play())


@on_both
def test_a_listener_without_a_session_ends_the_life(loop):
    """From its start, and again when it loses its session; not while it has one."""

    async def play():
        limit = Watches(session=0.05)
        assert await wait_for_cause(limit, listener(ready_for_jobs=False)) is Cause.NO_SESSION
        one = listener()
        assert await wait_for_cause(limit, one, within=0.3) is None
        lose_session(one)
        assert await wait_for_cause(limit, one) is Cause.NO_SESSION

    run(loop, play())


def test_the_real_listener_without_a_session_ends_the_life():
    """One that has only just been started, and prints nothing."""

    async def play():
        one = Listener(Phase())
        one.process = SimpleNamespace(running=False)
        assert await wait_for_cause(Watches(session=0.05), one) is Cause.NO_SESSION

    run("asyncio", play())


def test_a_job_goes_on_without_a_session():
    """The listener reports it by other calls; when there is a session again all is well."""

    async def play():
        one = listener(busy=True)
        lose_session(one)
        limit = Watches(session=0.05)
        assert await wait_for_cause(limit, one, within=0.3) is None
        (watch,) = limit.start(one, 0.0)
        await asyncio.wait([watch], timeout=0.2)
        one.session_lost.clear()
        one.session_open.set()
        await asyncio.wait([watch], timeout=0.2)
        assert not watch.done()
        one.busy = False
        lose_session(one)
        assert await asyncio.wait_for(watch, 20) is Cause.NO_SESSION

    run("asyncio", play())


def lose_session(one):
    """Make a listener lose its session."""
    one.session_open.clear()
    one.session_lost.set()


@on_both
@pytest.mark.parametrize(
    "answers",
    [
        [False, False],
        [True, False, True, False, False],
        [False, TransientError("x"), False],
        [TokenError("x"), False, False],
    ],
)
def test_a_deregistered_runner_is_missed_twice_in_a_row(loop, answers):
    """One miss may be GitHub's delay; a failed lookup is neither a hit nor a miss."""
    left = list(answers)

    async def is_registered():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def play():
        assert (
            await wait_for_cause(Watches(is_registered=is_registered), listener())
            is Cause.DEREGISTERED
        )
        assert left == []

    with capture_logs() as events:
        run(loop, play())
    failures = [answer for answer in answers if isinstance(answer, Exception)]
    assert [event["event"] for event in events] == ["runner.lookup_failed"] * len(failures)


def test_the_longer_a_runner_waits_the_less_often_github_is_asked(monkeypatch):
    """A hundred idle runners share one credential's 5,000 calls an hour."""
    pauses, left = [], [True] * 6 + [False, True, False, False]

    async def sleep(seconds):
        pauses.append(round(seconds / watches.LOOKUP_EVERY))

    async def is_registered():
        return left.pop(0)

    async def play():
        monkeypatch.setattr(watches, "asyncio", SimpleNamespace(sleep=sleep))
        assert await watches._watch_registration(listener(), is_registered) is Cause.DEREGISTERED

    monkeypatch.setattr(watches, "LOOKUP_SELDOM", 5 * watches.LOOKUP_EVERY)
    run("asyncio", play())
    assert pauses == [1, 2, 3, 4, 5, 5, 5, 1, 2, 1]


def test_a_busy_runner_is_not_looked_up_at_once():
    """Not for the first minutes, and never one that does not wait for jobs yet."""

    async def is_registered():
        raise AssertionError

    async def play():
        for one in (listener(busy=True), listener(ready_for_jobs=False)):
            assert (
                await wait_for_cause(Watches(is_registered=is_registered), one, within=0.2) is None
            )

    run("asyncio", play())


@on_both
@pytest.mark.parametrize(
    ("path", "cause"), [(SPOT_NOTICE, Cause.SPOT), (REBALANCE, Cause.REBALANCE)]
)
def test_a_notice_of_the_instance_ends_the_life(loop, monkeypatch, path, cause):
    """No notice and a failed lookup are looked at again; the other notice is looked for too.

    A Spot notice says when the instance ends, which is how long the drain may take.
    """
    end = datetime.now(UTC) + timedelta(seconds=100)
    notice = {"action": "terminate", "time": end.isoformat()}
    answers = [None, MetadataError("no route"), notice if path == SPOT_NOTICE else {}]
    ends = []

    class Session:
        async def read_notice(self, asked):
            if asked != path:
                return None
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    @asynccontextmanager
    async def connect(url, *, so_mark):
        assert (url, so_mark) == ("http://imds", True)
        yield Session()

    async def play():
        wanted = Watches(spot=True, instance_uri="http://imds", so_mark=True, on_end=ends.append)
        assert await wait_for_cause(wanted, listener()) is cause
        assert answers == []
        # Less a margin, and what passed since.
        assert [0 < seconds <= 95 for seconds in ends] == [True] * (cause is Cause.SPOT)

    monkeypatch.setattr(watches, "connect", connect)
    run(loop, play())


def test_every_cause_has_an_exit_code():
    """The agent's exit code says why a life ended."""
    assert all(isinstance(cause.exit, Exit) for cause in Cause)


def test_a_cause_without_an_exit_code_cannot_be_added():
    """Forgetting it fails at import, so in every test."""
    with pytest.raises(TypeError, match="exit_code"):

        class Forgetful(WatchCause):
            NEW = "disk-full"
