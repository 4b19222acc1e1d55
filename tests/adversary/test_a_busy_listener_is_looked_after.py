"""A job that stops its listener and worker, or keeps them busy, does not live for ever."""

import sys

import pytest

from sidecar.errors import TokenError
from sidecar.github import TransientError
from sidecar.lifecycle import watches
from sidecar.lifecycle.watches import Cause, Watches
from tests.lives.stage import open_stage, run_side_by_side, wait_until
from tests.lives.test_hostile_jobs import FIND_LISTENER
from tests.support.loops import on_both, run
from tests.unit.lifecycle.test_watches import listener, wait_for_cause


async def look_at_idle_listeners_only(listener_, is_registered):
    """Look up no runner that has a job, as the watch did once."""
    assert listener_.busy
    return await watches._wait_forever()


@on_both
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_busy_runner_that_github_does_not_know_ends_the_life(loop, mended, monkeypatch):
    """After five lookups in a row; without them it is busy, and protected, for ever."""
    monkeypatch.setattr(watches, "LOOKUP_EVERY", 0.01)
    monkeypatch.setattr(watches, "LOOKUP_SELDOM", 0.02)
    if not mended:
        monkeypatch.setattr(watches, "_watch_registration", look_at_idle_listeners_only)
    asked = []

    async def is_registered():
        asked.append(None)
        return False

    async def play():
        within = 20.0 if mended else 0.3
        wanted = Watches(is_registered=is_registered)
        return await wait_for_cause(wanted, listener(busy=True), within=within)

    assert run(loop, play()) is (Cause.JOB_LOST if mended else None)
    assert len(asked) == (watches.MISSES_OF_JOB if mended else 0)


@pytest.mark.parametrize("answer", [True, TransientError("x"), TokenError("x")])
def test_one_other_answer_begins_the_count_again_or_says_nothing(answer, monkeypatch):
    """A runner that GitHub knows has its job; a failed lookup is neither a hit nor a miss."""
    monkeypatch.setattr(watches, "LOOKUP_EVERY", 0.01)
    monkeypatch.setattr(watches, "LOOKUP_SELDOM", 0.02)
    left = [False] * 4 + [answer] + [False] * (5 if answer is True else 1)

    async def is_registered():
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def play():
        wanted = Watches(is_registered=is_registered)
        assert await wait_for_cause(wanted, listener(busy=True)) is Cause.JOB_LOST
        assert left == []

    run("asyncio", play())


def test_a_job_that_comes_or_ends_begins_the_count_again(monkeypatch):
    """A runner is unknown for a moment when its job has ended: its listener ends just then."""
    monkeypatch.setattr(watches, "LOOKUP_EVERY", 0.01)
    monkeypatch.setattr(watches, "LOOKUP_SELDOM", 0.02)
    one, misses = listener(busy=True), []

    async def is_registered():
        misses.append(one.busy)
        if len(misses) == watches.MISSES_OF_JOB - 1:
            one.busy = False
        return False

    async def play():
        cause = await wait_for_cause(Watches(is_registered=is_registered), one)
        assert cause is Cause.DEREGISTERED
        assert misses == [True] * 4 + [False] * 2

    run("asyncio", play())


LOOK_OFTEN = """
import sys
from sidecar.lifecycle import watches
watches.LOOKUP_EVERY = watches.LOOKUP_SELDOM = 0.2
from sidecar.__main__ import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


@pytest.mark.alone  # after the kill there is little time for the rest
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_stopped_listener_is_ended_when_github_has_given_up_its_job(aws):
    """A whole life: nobody stops it, and nothing of it stays, neither processes nor the runner."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            gate, open_gate = stage.make_gate()  # the worker has to send what it read before
            job = stage.job(
                f"{FIND_LISTENER}worker=$(pgrep -P $listener | head -n 1)\n"
                f"{gate}; kill -STOP $listener $worker; touch {stage.folder}/frozen; sleep 600"
            )
            env = {"SIDECAR_STOP_TIMEOUT": "15", "SIDECAR_GITHUB_PAT": "ghp_local"}
            async with stage.life((sys.executable, "-c", LOOK_OFTEN), env=env) as life:
                await stage.wait_for_output(job, "at the gate")
                open_gate()
                await wait_until((stage.folder / "frozen").exists, "a listener that stands still")
                stage.give_up(job, 0.0)
                await stage.check_end(life, 22)
            assert life.find_events("watch.triggered")[0]["reason"] == "job-lost"

    run_side_by_side(play())
