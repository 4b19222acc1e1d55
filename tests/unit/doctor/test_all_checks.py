"""The checks run side by side, and none of them keeps the others from being told."""

import asyncio
from types import SimpleNamespace

from sidecar.doctor import all_checks
from sidecar.doctor.all_checks import CHECKS, examine
from sidecar.examination.finding import Level, ok
from sidecar.examination.patience import Patience

SETUP = SimpleNamespace(patience=Patience(0.2))


async def well(_):
    """Find nothing wrong."""
    return [ok("all is well")]


def run(**checks):
    """Run these checks; return check, level and text of each line."""
    lines = asyncio.run(examine(SETUP, checks))
    return [(line.check, line.finding.level, line.finding.text) for line in lines]


def test_a_check_that_never_ends_is_cut_off():
    """The others have their lines, and its own says how long it took."""

    async def never(_):
        await asyncio.Event().wait()

    assert run(slow=never, quick=well) == [
        ("slow", Level.FAILED, "no result within 0.2 s"),
        ("quick", Level.OK, "all is well"),
    ]


def test_checks_run_side_by_side():
    """Each of two waits for the other: one after the other, neither would end."""
    here = asyncio.Barrier(2)

    async def meet(_):
        await here.wait()
        return [ok("met")]

    assert [level for _, level, _ in run(one=meet, other=meet)] == [Level.OK, Level.OK]


def test_a_mistake_in_a_check_is_told_as_one():
    """Without its text, which may hold anything."""

    async def wrong(_):
        raise KeyError("a secret")

    (line, _) = run(wrong=wrong, quick=well)
    assert line == ("wrong", Level.FAILED, "a mistake in this check: KeyError")


def test_a_check_may_have_more_time(monkeypatch):
    """A container has to start before it can tell anything."""
    monkeypatch.setattr(all_checks, "LONGER", {"slow": 1000.0})
    done = asyncio.Event()

    async def slow(_):
        await done.wait()
        return [ok("late")]

    async def quick(_):
        await asyncio.Event().wait()

    async def play():
        running = asyncio.create_task(examine(SETUP, {"slow": slow, "quick": quick}))
        asyncio.get_running_loop().call_later(0.5, done.set)
        return await running

    assert [line.finding.level for line in asyncio.run(play())] == [Level.OK, Level.FAILED]


def test_every_check_says_what_it_looks_at():
    """The page of the doctor is made of these sentences."""
    for check in CHECKS.values():
        module = __import__(check.__module__, fromlist=["check"])
        assert module.__doc__.startswith("Check "), check.__module__
