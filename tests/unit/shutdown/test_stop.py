"""A stop heard once, what it cuts, and the budget it starts."""

import asyncio
import os
import signal
import threading

import pytest

from sidecar.errors import Stopped
from sidecar.shutdown import signals
from sidecar.shutdown.stop import DRAIN, INTERRUPT, KILL, Budget, Stop
from tests.support.loops import LOOPS, on_both, run


@pytest.mark.parametrize(
    ("total", "interrupt", "kill", "end"),
    [
        (30, 5, 27, 28.2),
        (120, 95, 117, 118.2),
        (25, 0, 22, 23.2),
        (10, 0, 8, 8.8),
        (1, 0, 0.8, 0.88),
    ],
)
def test_the_budget_is_cut_into_its_stages(total, interrupt, kill, end):
    """Interrupt at max(0, budget - 25 s), kill at max(0.8 budget, budget - 3 s), then the rest."""
    budget = Budget(total)
    assert budget.interrupt == interrupt
    assert budget.kill == pytest.approx(kill)
    assert budget.end == pytest.approx(end)
    assert budget.interrupt <= budget.kill < budget.end < total


@on_both
def test_a_stop_cuts_the_work_and_never_the_clean_up(loop):
    """Stopped is raised at the block's await; what leaves outside the block is not disturbed."""
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
    """What the signals heard during the imports is acted on before anything is acquired."""
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
def test_more_signals_while_the_cut_unwinds_are_heard_quietly(loop):
    """The second signal finds the block on its way out, and raises nothing into the loop."""
    troubles = []

    async def life():
        running = asyncio.get_running_loop()
        running.set_exception_handler(lambda _loop, context: troubles.append(context))
        stop = Stop(30)
        async with stop.cuts():
            running.call_soon(stop.request, "SIGTERM")
            try:
                await asyncio.Event().wait()
            finally:
                running.call_soon(stop.request, "SIGTERM")
                running.call_soon(stop.request, "SIGTERM")
                await stop.reached(KILL)

    with pytest.raises(Stopped):
        run(loop, life())
    assert troubles == []


def test_a_block_that_is_done_in_time_is_not_cut():
    """A stop that comes with the block's last step finds it done: the life hears of it later."""

    async def life():
        stop = Stop(30)
        async with stop.cuts():
            stop.request("SIGTERM")
        assert stop.requested
        async with stop.cuts():
            pass

    run("asyncio", life())


def test_a_time_out_of_the_work_stays_one():
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
    """Three levels; more signals than that change nothing."""

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
    """`begin_end` starts the clock without a signal."""

    async def life():
        stop = Stop(30)
        stop.start_clock()
        assert not stop.requested
        assert 0 < stop.left_until(1) <= 1

    run("asyncio", life())


@on_both
def test_first_waits_for_whichever_comes_first(loop):
    """A future, a level of the stop, or a moment of the budget; nothing of it stays behind."""

    async def life():
        running = asyncio.get_running_loop()
        stop = Stop(30)
        before = asyncio.all_tasks()

        never, done = running.create_future(), running.create_future()
        done.set_result(1)
        await stop.first(never, done, level=DRAIN)

        running.call_soon(stop.request, "SIGTERM")
        await stop.first(never, level=DRAIN)
        assert stop.level == DRAIN
        await stop.first(never, level=DRAIN)  # reached already

        await stop.first(never, level=KILL, moment=0)
        assert stop.level == DRAIN

        running.call_soon(stop.request, "SIGTERM")
        running.call_soon(stop.request, "SIGTERM")
        await stop.first(never, level=KILL, moment=stop.budget.kill)
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
def test_real_signals_reach_a_loop_that_sleeps(loop):
    """One sent before the loop ran and one sent while it waits: both wake it, each once."""

    async def life(heard):
        stop = Stop(30)
        with stop.hearing(heard):
            await stop.reached(DRAIN)
            assert stop.level == DRAIN
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            await stop.reached(INTERRUPT)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)
        assert (stop.level, stop.signal) == (INTERRUPT, "SIGTERM")

    with signals.captured() as heard:
        os.kill(os.getpid(), signal.SIGTERM)
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(asyncio.wait_for(life(heard), 30))
        assert heard.heard == ["SIGTERM", "SIGINT", "SIGINT"]


@on_both
def test_the_first_signal_after_the_agents_own_wish_is_still_the_first(loop):
    """A limit that ends the life must not make the TERM that follows it an impatient one."""

    async def life():
        stop = Stop(30)
        stop.ask("lifetime-limit")
        assert (stop.level, stop.signal) == (DRAIN, "lifetime-limit")
        levels = []
        for _ in range(4):
            stop.request("SIGTERM")
            levels.append(stop.level)
        assert levels == [DRAIN, INTERRUPT, KILL, KILL]
        stop.ask("spot-notice")
        assert (stop.level, stop.signal) == (KILL, "lifetime-limit")

    run(loop, life())
