"""A job's children that die as fast as they are collected do not keep the agent from its stop."""

import asyncio
import sys

import pytest

from sidecar import host, process
from tests.adversary.cell import play
from tests.support.loops import on_both, run

if sys.platform == "win32":
    pytest.skip("dead children are collected on POSIX alone", allow_module_level=True)

from sidecar.host import posix_processes

FLOOD = 20_000
"""Dead children that the kernel has one after another; two forkers never let it run out of them."""

DEAD = 1000
"""The same, with real ones."""


class Kernel:
    """A kernel that always has one more dead child, until the flood ends."""

    def __init__(self):
        self.collected = 0

    def first_dead_child(self):
        """Return the number of a dead child."""
        return 100 + self.collected if self.collected < FLOOD else None

    def collect(self, pid):
        """Collect it: the next one is there already."""
        assert pid == 100 + self.collected
        self.collected += 1
        return True


@on_both
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_a_stop_is_heard_between_two_turns_of_collecting(loop, mended, monkeypatch):
    """A few turns of 200 go before it, the rest comes soon after; without the limit, all do."""
    kernel = Kernel()
    monkeypatch.setattr(posix_processes, "_first_dead_child", kernel.first_dead_child)
    monkeypatch.setattr(posix_processes, "_collect", kernel.collect)
    monkeypatch.setattr(process, "REAP_PAUSE", 0)
    if not mended:
        monkeypatch.setattr(posix_processes, "MOST_REAPED", sys.maxsize)
    heard = []

    async def live():
        stop = asyncio.Event()
        running = asyncio.get_running_loop()
        async with process.collect_orphans(every=0.001):
            # The stop comes while the first turn of collecting begins.
            running.call_soon(running.call_soon, stop.set)
            await stop.wait()
            heard.append(kernel.collected)
            while kernel.collected < FLOOD:  # noqa: ASYNC110  no event for it
                await asyncio.sleep(0)

    run(loop, live())
    assert heard[0] <= 10 * host.MOST_REAPED if mended else heard[0] == FLOOD


@pytest.mark.root
@pytest.mark.parametrize("mended", [True, False], ids=["mended", "unmended"])
def test_the_same_holds_for_children_that_really_die(mended):
    """In a pid namespace of its own; one dies for each that is collected."""
    collected = play("collected_before_stop", mended, DEAD)
    assert collected <= 2 * host.MOST_REAPED if mended else collected >= DEAD


def test_a_child_that_cannot_be_collected_yet_ends_the_turn(monkeypatch):
    """The kernel shows the same one again and again: that is no endless loop either."""
    monkeypatch.setattr(posix_processes, "_first_dead_child", lambda: 100)
    monkeypatch.setattr(posix_processes, "_collect", lambda _pid: False)
    assert host.reap_orphans(lambda _pid: False) == 0
