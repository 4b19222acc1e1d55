"""The drain ends the listener within the stop budget, and loses no job."""

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar.lifecycle.drain import drain_listener, end_if_idle
from sidecar.process import user_kill
from sidecar.shutdown.cleanup import When
from tests.support.loops import on_both, run
from tests.unit.lifecycle.parts import Deregistration, Listener, drain


@on_both
def test_an_idle_runner_is_deregistered_then_interrupted(loop):
    """In this order: until then GitHub could still give it a job."""

    async def play():
        listener, deregistration = Listener(), Deregistration()
        working = drain(listener, deregistration)
        working.stop.request("SIGTERM")
        await drain_listener(working)
        assert working.cleanup_step.done
        assert (listener.interrupted, deregistration.left) == (True, 1)

    run(loop, play())


@on_both
def test_a_running_job_may_end_by_itself(loop):
    """The listener is not interrupted as long as the budget allows, nor deregistered."""

    async def play():
        listener, deregistration = Listener(busy=True), Deregistration()
        working = drain(listener, deregistration, budget=40.0)
        working.stop.request("SIGTERM")
        asyncio.get_running_loop().call_later(0.1, listener.ended.set_result, 0)
        await drain_listener(working)
        assert not listener.interrupted
        assert deregistration.left == 0

    with capture_logs() as events:
        run(loop, play())
    assert [event["event"] for event in events if event["event"].startswith("stop.")] == [
        "stop.requested",
        "stop.job_awaited",
    ]


def test_a_second_signal_interrupts_the_job_at_once():
    """However much of the budget is left."""

    async def play():
        listener = Listener(busy=True)
        working = drain(listener, budget=3600.0)
        working.stop.request("SIGTERM")
        working.stop.request("SIGTERM")
        async with asyncio.timeout(20):
            await drain_listener(working)
        assert listener.interrupted

    run("asyncio", play())


def test_a_runner_that_just_got_a_job_is_treated_as_busy():
    """GitHub refuses to deregister it: the job goes on."""

    async def play():
        listener, deregistration = Listener(), Deregistration("busy")
        working = drain(listener, deregistration, budget=40.0)
        working.stop.request("SIGTERM")
        asyncio.get_running_loop().call_later(0.1, listener.ended.set_result, 0)
        await drain_listener(working)
        assert not listener.interrupted

    run("asyncio", play())


def test_an_idle_listener_that_cannot_be_interrupted_is_killed_at_once():
    """Once GitHub has been asked: nothing else would end it, and it has no job to wait for."""

    async def play():
        listener, deregistration = Listener(deaf=True), Deregistration()
        working = drain(listener, deregistration, budget=3600.0)
        working.stop.request("SIGTERM")
        async with asyncio.timeout(20):
            await drain_listener(working)
        assert (working.cleanup_step.done, deregistration.left) == (True, 1)
        assert listener.process.killed

    with capture_logs() as events:
        run("asyncio", play())
    (killed,) = [event for event in events if event["event"] == "runner.killed"]
    assert killed["reason"] == "it could not be interrupted"


def test_a_job_that_cannot_be_interrupted_goes_on_until_the_kill():
    """It may still come to its end."""

    async def play():
        listener = Listener(busy=True, deaf=True)
        working = drain(listener, budget=40.0)
        working.stop.request("SIGTERM")
        working.stop.request("SIGTERM")
        asyncio.get_running_loop().call_later(0.1, listener.ended.set_result, 0)
        await drain_listener(working)
        assert listener.ended.result() == 0

    with capture_logs() as events:
        run("asyncio", play())
    assert "runner.killed" not in [event["event"] for event in events]


@pytest.mark.parametrize(("busy", "ended"), [(False, True), (True, False)])
def test_only_an_idle_listener_is_ended_without_a_stop(busy, ended):
    """With a job nothing is done."""

    async def play():
        listener, deregistration = Listener(busy=busy), Deregistration()
        assert await end_if_idle(drain(listener, deregistration)) is ended
        assert listener.interrupted is ended
        assert deregistration.left == ended

    run("asyncio", play())


@on_both
def test_the_walls_stand_until_the_job_s_last_process_is_dead(loop):
    """A job goes on after its interrupt: network rules, docker proxy and folder stay till then.

    What no job needs is done beside it; its containers are removed when its processes are dead.
    """

    async def play():
        order = []
        listener = Listener(busy=True, stubborn=True)
        working = drain(listener, budget=20.0)

        def register(name, when):
            async def act():
                order.append(name)

            working.cleanup_stack.register_step(name, act, when=when)

        async def kill(_timeout):
            order.append("killed")

        register("network", When.LAST)
        register("containers", When.JOB_ENDED)
        register("protection", When.ANY_TIME)
        listener.process.kill = kill
        end = asyncio.get_running_loop().call_later
        interrupt = listener.interrupt

        def interrupt_and_end(*, busy):
            order.append("interrupted")
            end(0.1, lambda: (order.append("ended"), listener.ended.set_result(0)))
            return interrupt(busy=busy)

        listener.interrupt = interrupt_and_end
        working.stop.request("SIGTERM")
        await drain_listener(working)
        await asyncio.gather(*(s.begin() for s in working.cleanup_stack.steps if s.when < 3))
        assert order == ["interrupted", "protection", "ended", "killed", "containers"]

    run(loop, play())


def test_what_an_ended_listener_left_is_killed():
    """A daemon of a step may outlive the listener, which ended by itself during the drain."""

    async def play():
        listener = Listener(busy=True)
        working = drain(listener, budget=40.0)
        working.stop.request("SIGTERM")
        listener.ended.set_result(0)
        await drain_listener(working)
        assert listener.process.killed

    run("asyncio", play())


def test_after_a_job_the_runner_is_deregistered_once_its_processes_are_dead():
    """Leftovers of the job could read the token that the runner's own `remove` is given."""

    async def play():
        dead = []
        listener, deregistration = Listener(), Deregistration(lambda: dead.append(killed()))
        listener.had_job = True
        working = drain(listener, deregistration, budget=40.0)

        def killed():
            return listener.process.killed

        working.stop.request("SIGTERM")
        asyncio.get_running_loop().call_later(0.1, listener.ended.set_result, 0)
        await drain_listener(working)
        await asyncio.wait([working.cleanup_step.begin()])
        assert dead
        assert all(dead)

    run("asyncio", play())


def test_a_listener_after_its_job_is_not_idle():
    """It ends by itself. Else it would be deregistered beside what its job left."""

    async def play():
        listener, deregistration = Listener(), Deregistration()
        listener.had_job = True
        assert not await end_if_idle(drain(listener, deregistration))
        assert (listener.interrupted, deregistration.left) == (False, 0)

    run("asyncio", play())


def test_a_stop_slows_the_jobs_processes_down(monkeypatch):
    """So that they leave the agent the processors for its own end."""

    async def play():
        slowed = []

        class Killer:
            async def slow_down(self, uid):
                slowed.append(uid)

        monkeypatch.setattr(user_kill, "killer", Killer())
        monkeypatch.setattr(user_kill, "uid", 4242)
        working = drain(Listener())
        working.stop.request("SIGTERM")
        await drain_listener(working)
        assert slowed == [4242]

    run("asyncio", play())
