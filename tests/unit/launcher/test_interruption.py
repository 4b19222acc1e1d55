"""Signals cut the work short, and never the cleanup."""

import asyncio
import os
import signal

import pytest

from launcher.interruption import SIGNALS, InterruptedWork, Interruption
from tests.support.loops import run


@pytest.fixture(autouse=True)
def _put_back():
    """Put back the handlers of the process that runs the tests."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_cuts_the_block_and_nothing_else(number):
    """What follows the block runs to its end, whatever signals come then."""
    done = []

    async def wait(interruption):
        async with interruption.cuts():
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
            await asyncio.Event().wait()

    async def work(interruption):
        with pytest.raises(InterruptedWork, match=number.name):
            await wait(interruption)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(5):
            await asyncio.sleep(0)
        done.append("cleanup")

    with Interruption() as interruption:
        run("asyncio", work(interruption))
    assert done == ["cleanup"]
    assert interruption.signal == number.name


def test_a_signal_that_came_before_cuts_at_the_first_await():
    """It may come while everything is imported."""

    async def work(interruption):
        async with interruption.cuts():
            await asyncio.Event().wait()

    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptedWork):
            run("asyncio", work(interruption))


def test_a_signal_after_the_last_await_counts_too():
    """The work was done, but somebody wanted it stopped."""

    async def work(interruption):
        async with interruption.cuts():
            os.kill(os.getpid(), signal.SIGTERM)

    with Interruption() as interruption, pytest.raises(InterruptedWork):
        run("asyncio", work(interruption))


def test_a_time_out_of_the_work_is_no_interruption():
    """It stays what it is."""

    async def work(interruption):
        async with interruption.cuts():
            raise TimeoutError

    with Interruption() as interruption, pytest.raises(TimeoutError):
        run("asyncio", work(interruption))


def test_after_the_end_signals_are_ignored():
    """A late one must not turn a clean exit into a death by signal."""
    with Interruption():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
