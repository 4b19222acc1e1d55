"""Processes of a job that fork while they are searched for do not use up the agent's end.

Where processes cannot be killed by their user, the agent kills what a list shows, again and again.
Here the list always shows one more; a virtual clock tells when the runner is deregistered.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from bench.virtual import run_virtually
from sidecar import host, process
from sidecar.lifecycle import drain as drains
from sidecar.process import Process
from sidecar.shutdown.budget import Budget
from sidecar.shutdown.cleanup import run_cleanup
from tests.unit.lifecycle.parts import Deregistration, Listener, drain

FOREVER = 1e6
BUDGETS = (10.0, 30.0, 120.0)
REQUEST = 0.3
"""Seconds that GitHub takes to remove a runner."""


class ForkingProcess(Process):
    """An ended listener, whose job left a process that forks."""

    def __init__(self, ended):
        self.pid, self.ended = 0, ended
        self._as_user = self._searched = False


@pytest.fixture(autouse=True)
def _always_one_more(monkeypatch):
    """Let each search find and kill one process more."""
    monkeypatch.setattr(host, "kill_leftovers", lambda _root, **_: 1)
    monkeypatch.setattr(host, "reap_orphans", lambda _waited_for: 0)


async def pass_time(seconds):
    """Let the virtual clock go on."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)


async def search_without_end(self, timeout=None):
    """Search until nothing is found, as the agent did once."""
    while host.kill_leftovers(None, spare=()):
        await pass_time(process.KILL_PAUSE)


async def end_life(budget, *, stubborn):
    """Stop a runner with a job; return when it was removed, and what of the end was not done."""
    listener = Listener(busy=True, stubborn=stubborn)
    listener.process = ForkingProcess(listener.ended)
    now = asyncio.get_running_loop().time
    removed = []

    class AtGitHub(Deregistration):
        async def leave(self):
            await pass_time(REQUEST)
            removed.append(now())

    working = drain(listener, AtGitHub(), budget)
    if stubborn:  # it ends by the kill alone
        asyncio.get_running_loop().call_at(
            working.stop.budget.kill, lambda: listener.ended.set_result(-9)
        )
    working.stop.request("SIGTERM")
    try:
        async with asyncio.timeout(budget), run_cleanup(working.cleanup_stack, working.stop):
            await drains.drain_listener(working)
    except TimeoutError:
        pass
    return SimpleNamespace(removed=removed, left=working.cleanup_stack.not_done, now=now())


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("stubborn", [False, True], ids=["ended", "killed"])
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_the_runner_is_deregistered_within_the_budget(mended, stubborn, budget, monkeypatch):
    """Both after a listener that ended when it was interrupted, and after one that was killed."""
    if not mended:
        monkeypatch.setattr(Process, "kill", search_without_end)
    ended = run_virtually(end_life(budget, stubborn=stubborn), seed=1)
    if mended:
        assert ended.left == {}
        assert ended.removed[0] < Budget(budget).end
    else:
        assert ended.removed == []


def test_a_search_takes_no_longer_than_it_may():
    """However much of the budget is left: the runner is deregistered soon after a job, too."""

    async def play():
        now = asyncio.get_running_loop().time
        ended = asyncio.get_running_loop().create_future()
        ended.set_result(0)
        one = ForkingProcess(ended)
        assert await one.kill(FOREVER) > 1
        first = now()
        assert await one.kill(FOREVER) == 1  # once more, not for as long again
        return first, now() - first

    first, second = run_virtually(play(), seed=1)
    assert first <= process.KILL_TIMEOUT + process.KILL_PAUSE
    assert second <= process.KILL_PAUSE
