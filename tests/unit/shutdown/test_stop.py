"""A stop: its level, what it cuts, and the budget's clock."""

import asyncio
import os
import signal
import threading

import pytest

from sidecar.errors import Stopped
from sidecar.shutdown import signals
from sidecar.shutdown.budget import SHORTEST
from sidecar.shutdown.stop import DRAIN, INTERRUPT, KILL, Stop
from tests.support.loops import LOOPS, on_both, run


@on_both
def test_a_stop_cuts_the_work_and_never_the_clean_up(loop):
    """Stopped is raised at the block's await; what comes after the block is not cut."""
    events = []

    async def life():
        stop = Stop(30)
        try:
            async with stop.cuts():
                try:
                    asyncio.get_running_loop().call_soon(stop.request, "SIGTERM")
                    await asyncio.Event().wait()
                finally:
                    events.append("unwound")
        except Stopped as stopped:
            events.append(str(stopped))
        stop.request("SIGTERM")
        await asyncio.wait_for(asyncio.sleep(0), 1)
        events.append("cleaned")

    run(loop, life())
    assert events == ["unwound", "stopped by SIGTERM", "cleaned"]


@on_both
def test_a_stop_that_came_before_cuts_at_the_first_await(loop):
    """A signal that came during the imports is handled before anything is acquired."""
    events = []

    async def life():
        stop = Stop(30)
        stop.request("SIGINT")
        async with stop.cuts():
            events.append("entered")
            await asyncio.Event().wait()

    with pytest.raises(Stopped, match="stopped by SIGINT"):
        run(loop, life())
    assert events == ["entered"]


@on_both
def test_more_signals_while_the_block_ends_raise_nothing(loop):
    """They find the block cut already."""
    errors = []

    async def life():
        running = asyncio.get_running_loop()
        running.set_exception_handler(lambda _loop, context: errors.append(context))
        stop = Stop(30)
        async with stop.cuts():
            running.call_soon(stop.request, "SIGTERM")
            try:
                await asyncio.Event().wait()
            finally:
                running.call_soon(stop.request, "SIGTERM")
                running.call_soon(stop.request, "SIGTERM")
                await stop.wait_for_level(KILL)

    with pytest.raises(Stopped):
        run(loop, life())
    assert errors == []


def test_a_block_without_another_await_is_not_cut():
    """A stop that comes with the block's last step is handled after it."""

    async def life():
        stop = Stop(30)
        async with stop.cuts():
            stop.request("SIGTERM")
        assert stop.requested
        async with stop.cuts():
            pass

    run("asyncio", life())


def test_a_timeout_of_the_work_stays_one():
    """Only a stop becomes Stopped."""

    async def life():
        stop = Stop(30)
        with pytest.raises(TimeoutError, match="mine"):
            async with stop.cuts():
                raise TimeoutError("mine")
        with pytest.raises(KeyError):
            async with stop.cuts():
                raise KeyError

    run("asyncio", life())


def test_each_signal_raises_the_level_and_the_first_names_the_stop():
    """There are three levels; more signals change nothing."""

    async def life():
        stop = Stop(30)
        assert (stop.requested, stop.level, stop.signal) == (False, 0, None)
        levels = []
        for name in ("SIGTERM", "SIGINT", "SIGINT", "SIGINT"):
            stop.request(name)
            levels.append(stop.level)
        assert levels == [DRAIN, INTERRUPT, KILL, KILL]
        assert (stop.requested, stop.signal) == (True, "SIGTERM")

    run("asyncio", life())


@on_both
def test_the_clock_starts_with_the_first_signal_only(loop):
    """Before it the whole budget is left; a second signal does not lengthen it."""

    async def life():
        stop = Stop(30)
        assert stop.left_until(stop.budget.kill) == 27
        stop.request("SIGTERM")
        first = stop._since
        stop.request("SIGTERM")
        stop.start_clock()
        assert stop._since == first
        assert 0 < stop.left_until(27) <= 27
        assert stop.left_until(0) == 0

    run(loop, life())


def test_a_life_that_ends_by_itself_is_bounded_too():
    """Its clock starts without a signal."""

    async def life():
        stop = Stop(30)
        stop.start_clock()
        assert not stop.requested
        assert 0 < stop.left_until(27) <= 27

    run("asyncio", life())


@on_both
def test_the_wait_ends_with_whatever_comes_first(loop):
    """A future, a level of the stop, or a moment of the budget; no task of it goes on."""

    async def life():
        running = asyncio.get_running_loop()
        stop = Stop(30)
        before = asyncio.all_tasks()

        never, done = running.create_future(), running.create_future()
        done.set_result(1)
        await stop.wait_for_first(never, done, level=DRAIN)

        running.call_soon(stop.request, "SIGTERM")
        await stop.wait_for_first(never, level=DRAIN)
        assert stop.level == DRAIN
        await stop.wait_for_first(never, level=DRAIN)  # reached already

        await stop.wait_for_first(never, level=KILL, moment=0)
        assert stop.level == DRAIN

        running.call_soon(stop.request, "SIGTERM")
        running.call_soon(stop.request, "SIGTERM")
        await stop.wait_for_first(never, level=KILL, moment=stop.budget.kill)
        assert stop.level == KILL
        assert asyncio.all_tasks() == before
        assert not never.done()

    run(loop, life())


@pytest.fixture
def _handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@on_both
@pytest.mark.usefixtures("_handlers")
def test_real_signals_reach_a_waiting_loop(loop):
    """One sent before the loop ran and one sent while it waits: each is received once."""

    async def life(received):
        stop = Stop(30)
        with stop.receiving(received):
            await stop.wait_for_level(DRAIN)
            assert stop.level == DRAIN
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            await stop.wait_for_level(INTERRUPT)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        assert (stop.level, stop.signal) == (INTERRUPT, "SIGTERM")

    with signals.capture() as received:
        os.kill(os.getpid(), signal.SIGTERM)
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(asyncio.wait_for(life(received), 30))
        assert received.received == ["SIGTERM", "SIGINT", "SIGINT"]


@on_both
def test_the_first_signal_after_the_agent_s_own_stop_is_the_first(loop):
    """After a limit the next SIGTERM must not interrupt the job at once."""

    async def life():
        stop = Stop(30)
        stop.request_drain("lifetime-limit")
        assert (stop.level, stop.signal) == (DRAIN, "lifetime-limit")
        levels = []
        for _ in range(4):
            stop.request("SIGTERM")
            levels.append(stop.level)
        assert levels == [DRAIN, INTERRUPT, KILL, KILL]
        stop.request_drain("spot-notice")
        assert (stop.level, stop.signal) == (KILL, "lifetime-limit")

    run(loop, life())


@on_both
def test_a_drain_has_the_time_that_the_machine_still_has(loop):
    """A Spot notice comes two minutes ahead, whatever the stop timeout of the container is."""

    async def life():
        now = asyncio.get_running_loop().time
        for seconds in (115, 20):
            stop, began = Stop(30), now()
            stop.note_end(seconds)
            stop.request_drain("spot-notice")
            passed = now() - began
            assert seconds - passed - 0.1 <= stop.budget.total <= seconds
        late = Stop(30)
        late.note_end(0)
        late.request_drain("spot-notice")
        assert late.budget.total == SHORTEST

    run(loop, life())


@on_both
def test_a_signal_means_the_stop_timeout_if_that_ends_earlier(loop):
    """ECS kills the container then, however long the machine still runs."""

    async def life():
        never = asyncio.get_running_loop().create_future()
        stop = Stop(0.5)
        stop.note_end(115)
        stop.request_drain("spot-notice")
        wait = stop.wait_for_first(never, moment=lambda budget: budget.interrupt, level=INTERRUPT)
        waiting = asyncio.create_task(wait)
        await asyncio.sleep(0)
        assert not waiting.done()
        stop.request("SIGTERM")
        await asyncio.wait_for(waiting, 30)  # the budget is shorter now: the waiter follows it
        assert stop.level == DRAIN
        assert stop.budget.total < 60

    run(loop, life())


@on_both
def test_a_stop_timeout_that_ends_later_changes_nothing(loop):
    """Neither does a notice that comes when the clock runs already."""

    async def life():
        stop = Stop(3600)
        stop.note_end(100)
        stop.request_drain("spot-notice")
        stop.request("SIGTERM")
        assert stop.budget.total <= 100
        stop = Stop(3600)
        stop.note_end(100)
        stop.request("SIGTERM")
        assert stop.budget.total <= 100
        stop = Stop(30)
        stop.request("SIGTERM")
        stop.note_end(100)
        stop.request_drain("spot-notice")
        assert stop.budget.total == 30

    run(loop, life())


@on_both
def test_an_operation_may_finish_for_half_the_budget(loop):
    """Or until the second signal; it is not cancelled."""

    async def life():
        running = asyncio.get_running_loop()
        never, done = running.create_future(), running.create_future()
        done.set_result(1)
        stop = Stop(0.1)
        stop.request("SIGTERM")
        await stop.let_finish(never)
        assert stop.left_until(stop.budget.finish) == pytest.approx(0, abs=0.02)
        assert stop.level == DRAIN
        patient = Stop(3600)
        patient.request("SIGTERM")
        await patient.let_finish(done)
        running.call_soon(patient.request, "SIGTERM")
        await patient.let_finish(never)
        assert patient.level == INTERRUPT
        assert not never.cancelled()

    run(loop, life())
