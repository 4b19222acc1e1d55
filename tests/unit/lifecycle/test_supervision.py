"""The listener is supervised until its own end, a stop, or a watch."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from sidecar import host
from sidecar.errors import Exit
from sidecar.lifecycle.supervision import supervise
from sidecar.lifecycle.watches import Cause
from tests.support.loops import on_both, run
from tests.unit.lifecycle.parts import Deregistration, Listener, drain


def watch(cause=None, error=None):
    """Make a watch that ends with `cause` or `error`, or never ends."""

    async def look():
        if error is not None:
            raise error
        if cause is None:
            await asyncio.get_running_loop().create_future()
        return cause

    return asyncio.ensure_future(look())


@on_both
def test_the_life_ends_with_the_listener(loop):
    """Watches that still run are cancelled."""

    async def play():
        listener, quiet = Listener(), watch()
        asyncio.get_running_loop().call_later(0.05, listener.ended.set_result, 0)
        assert await supervise(drain(listener), [quiet]) is Exit.DONE
        with suppress(asyncio.CancelledError):
            await quiet
        assert quiet.cancelled()
        assert not listener.interrupted

    run(loop, play())


@on_both
@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (Cause.IDLE, Exit.IDLE),
        (Cause.NO_SESSION, Exit.RUNNER),
        (Cause.DEREGISTERED, Exit.GHOST),
        (Cause.JOB_LOST, Exit.CANCELLED),
        (Cause.LIFETIME, Exit.LIFETIME),
        (Cause.SPOT, Exit.DONE),
    ],
)
def test_each_cause_has_its_exit_code(loop, cause, code):
    """An idle listener is deregistered and interrupted."""

    async def play():
        listener, deregistration = Listener(), Deregistration()
        working = drain(listener, deregistration)
        assert await supervise(working, [watch(cause)]) is code
        await working.cleanup_step.begin()
        assert (listener.interrupted, deregistration.left) == (True, 1)
        assert listener.session_limit_reached is (cause is Cause.NO_SESSION)

    with capture_logs() as events:
        run(loop, play())
    (triggered,) = [event for event in events if event["event"] == "watch.triggered"]
    assert triggered["reason"] == cause.value


@pytest.mark.parametrize("cause", list(Cause))
def test_no_cause_is_without_an_exit_code(cause):
    """Whatever ends an idle life, the code is the one that the cause names."""

    async def play():
        return await supervise(drain(Listener()), [watch(cause)])

    assert run("asyncio", play()) is cause.exit


@pytest.mark.parametrize("how", ["busy", "refused", "came meanwhile"])
def test_a_job_that_comes_with_the_idle_limit_is_not_lost(how):
    """The life goes on to the job's end: exit 0."""

    async def play():
        listener = Listener(busy=how == "busy")
        answers = {"busy": "gone", "refused": "busy", "came meanwhile": give_job(listener)}
        deregistration = Deregistration(answers[how])
        asyncio.get_running_loop().call_later(0.3, listener.ended.set_result, 0)
        assert await supervise(drain(listener, deregistration), [watch(Cause.IDLE)]) is Exit.DONE
        assert not listener.interrupted
        assert deregistration.left == (how != "busy")

    run("asyncio", play())


def give_job(listener):
    """Make a function that gives the listener a job while GitHub does not answer."""

    def give():
        listener.busy = listener.had_job = True

    return give


@pytest.mark.parametrize(("result", "code"), [(None, Exit.LIFETIME), ("Succeeded", Exit.DONE)])
def test_a_job_may_end_within_the_drain_of_the_lifetime_limit(result, code):
    """If it is interrupted the exit code is 19, else 0."""

    async def play():
        listener = Listener(busy=True, result=result)
        assert await supervise(drain(listener, budget=20.0), [watch(Cause.LIFETIME)]) is code

    run("asyncio", play())


def test_a_listener_that_does_not_end_is_killed():
    """Within the stop budget."""

    async def play():
        listener = Listener(stubborn=True)
        code = await supervise(drain(listener, budget=1.0), [watch(Cause.DEREGISTERED)])
        assert (code, listener.ended.result()) == (Exit.GHOST, -9)

    run("asyncio", play())


@pytest.mark.parametrize("moment", ["before", "during"])
@pytest.mark.parametrize(
    ("to_all", "result", "code"),
    [
        (frozenset({"SIGTERM"}), None, Exit.CANCELLED),
        (frozenset({"SIGTERM"}), "Succeeded", Exit.DONE),
        (frozenset({"SIGBREAK"}), None, Exit.DONE),
        (frozenset(), None, Exit.DONE),
    ],
)
def test_a_listener_that_got_the_stop_itself_was_interrupted(
    monkeypatch, to_all, result, code, moment
):
    """A container's stop on Windows reaches it too: it cancels its job, and nobody asked it to."""
    monkeypatch.setattr(host, "SIGNALS_TO_ALL", to_all)

    async def play():
        listener = Listener(busy=True, result=result)
        working = drain(listener, budget=40.0)
        if moment == "during":  # a stop of the agent's own came first
            working.stop.request_drain("spot-notice")
            asyncio.get_running_loop().call_later(0.05, working.stop.request, "SIGTERM")
        else:
            working.stop.request("SIGTERM")
        asyncio.get_running_loop().call_later(0.1, listener.ended.set_result, 143)
        assert await supervise(working, [watch()]) is code

    run("asyncio", play())


def test_a_watch_that_fails_ends_nothing():
    """It is logged; the life goes on without it."""

    async def play():
        listener = Listener()
        asyncio.get_running_loop().call_later(0.1, listener.ended.set_result, 0)
        assert await supervise(drain(listener), [watch(error=ValueError("x"))]) is Exit.DONE

    with capture_logs() as events:
        run("asyncio", play())
    assert [event["event"] for event in events] == ["watch.failed"]
