"""The watches: nothing to do, too much to do, nobody who knows of it, no machine."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from sidecar.errors import TokenError
from sidecar.github import Passing
from sidecar.lifecycle import watches
from sidecar.lifecycle.watches import Cause, Watches
from tests.support.loops import on_both, run


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Look often."""
    monkeypatch.setattr(watches, "GHOST_EVERY", 0.01)
    monkeypatch.setattr(watches, "SPOT_EVERY", 0.01)


def listener(*, listened=True, busy=False):
    """Make a listener as a watch sees it."""
    made = SimpleNamespace(listened=asyncio.Event(), job=asyncio.Event(), busy=busy)
    if listened:
        made.listened.set()
    return made


async def seen(wanted, of, *, within=20.0, born=None):
    """Wait for the first cause; None if there is none within the time."""
    born = asyncio.get_running_loop().time() if born is None else born
    tasks = list(wanted.begun(of, born))
    done, _ = await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return next((task.result() for task in done), None)


def test_nothing_is_watched_unless_told():
    """By default a life lasts as long as its job takes to come."""

    async def play():
        assert list(Watches().begun(listener(), 0.0)) == []

    run("asyncio", play())


@on_both
def test_the_idle_limit_counts_from_when_it_listens(loop):
    """A runner that has yet to connect is not idle; one with a job never is."""

    async def play():
        limit = Watches(idle=0.05)
        assert await seen(limit, listener()) is Cause.IDLE
        assert await seen(limit, listener(listened=False), within=0.3) is None
        with_job = listener()
        with_job.job.set()
        assert await seen(limit, with_job, within=0.3) is None

    run(loop, play())


@on_both
def test_the_lifetime_counts_from_the_birth(loop):
    """Whatever the runner does; a limit that has passed already counts at once."""

    async def play():
        now = asyncio.get_running_loop().time()
        limit = Watches(lifetime=100.0)
        assert await seen(limit, listener(listened=False), born=now - 99.9) is Cause.LIFETIME
        assert await seen(limit, listener(busy=True), born=now - 1000) is Cause.LIFETIME
        assert await seen(limit, listener(), within=0.1) is None

    run(loop, play())


@on_both
@pytest.mark.parametrize(
    "answers",
    [
        [False, False],
        [True, False, True, False, False],
        [False, Passing("x"), False],
        [TokenError("x"), False, False],
    ],
)
def test_a_ghost_is_missed_twice_in_a_row(loop, answers):
    """One miss may be GitHub's delay; an answer that does not come says nothing."""
    left = list(answers)

    async def known():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def play():
        assert await seen(Watches(runner=known), listener()) is Cause.GHOST
        assert left == []

    with capture_logs() as events:
        run(loop, play())
    unknown = [answer for answer in answers if isinstance(answer, Exception)]
    assert [event["event"] for event in events] == ["runner.lookup_failed"] * len(unknown)


def test_github_is_asked_less_often_the_longer_a_runner_waits(monkeypatch):
    """A hundred idle runners share one credential's 5,000 calls an hour."""
    pauses, left = [], [True] * 6 + [False, True, False, False]

    async def sleep(seconds):
        pauses.append(round(seconds / watches.GHOST_EVERY))

    async def known():
        return left.pop(0)

    async def play():
        monkeypatch.setattr(watches, "asyncio", SimpleNamespace(sleep=sleep))
        assert await watches._ghost(listener(), known) is Cause.GHOST

    monkeypatch.setattr(watches, "GHOST_SELDOM", 5 * watches.GHOST_EVERY)
    run("asyncio", play())
    assert pauses == [1, 2, 3, 4, 5, 5, 5, 1, 2, 1]


def test_a_busy_runner_is_no_ghost():
    """GitHub is not even asked while a job runs, nor before the runner listens."""

    async def known():
        raise AssertionError

    async def play():
        for one in (listener(busy=True), listener(listened=False)):
            assert await seen(Watches(runner=known), one, within=0.2) is None

    run("asyncio", play())


@asynccontextmanager
async def instance(*answers):
    """Serve an instance's metadata: `answers` are the statuses of the notice, then of the token."""
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
@pytest.mark.parametrize(
    "answers", [[200], [404, 404, 200], ["no token", 404, 200], ["bad token", 500, 200]]
)
def test_a_spot_notice_is_seen(loop, answers):
    """IMDSv2 only; whatever else it answers is no notice, and is looked at again."""

    async def play():
        async with instance(*answers) as url:
            assert await seen(Watches(spot=True, imds=url), listener()) is Cause.SPOT

    run(loop, play())


def test_where_no_instance_answers_there_is_no_notice():
    """As on Fargate, or behind a wall: the life goes on."""

    async def play():
        nobody = Watches(spot=True, imds="http://127.0.0.1:9")
        assert await seen(nobody, listener(), within=0.3) is None

    run("asyncio", play())
