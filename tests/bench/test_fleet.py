"""A fleet that starts in the same second: it shares what SSM and GitHub grant, and nobody fails."""

import asyncio
import random
import time

import pytest

from bench import fleet, limits, plot
from bench.virtual import Loop, Stuck, played


def test_a_thousand_start_as_fast_as_ssm_lets_them():
    """Within 1.25 times the limit's own time; none fails, and no token is left."""
    found = fleet.read()
    assert found["fleet_start_vs_limit"] <= 1.25
    assert found["fleet_reads_per_start"] <= 8
    assert found["fleet_last_delete_s"] <= 1.5 * fleet.SIZE / limits.DELETES


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_smaller_fleets_start_as_well(seed):
    """All of 200, whatever chance brings; each token is deleted once."""
    grown = fleet.everybody(played(fleet.from_ssm(200), seed))
    assert len(grown.started) == len(grown.deleted) == 200
    assert grown.counts.calls["configure"] == 200


def test_a_crowd_leaves_calls_to_its_neighbours():
    """Others of the account get through, most of the time at the first try; the fleet starts."""
    grown = fleet.everybody(played(fleet.from_ssm(1000, others=2), 1))
    assert grown.start_vs_limit <= 1.25
    assert grown.counts.refused["neighbour"] <= 0.1 * grown.counts.calls["neighbour"]


def test_a_crowd_that_waits_does_not_keep_its_tokens_from_being_written():
    """The launcher shares the limit with those that poll for its tokens, and they give way."""
    grown = fleet.everybody(played(fleet.from_ssm(500, late=5), 1))
    assert len(grown.started) == len(grown.deleted) == 500


def test_a_fleet_mints_with_one_access_token():
    """GitHub lets 180 be minted in a minute: the last of 1,000 comes in the sixth, and none fails.

    The default of SIDECAR_TOKEN_TIMEOUT, five minutes, is less than that: docs/fleet.md says so.
    """
    grown = fleet.everybody(played(fleet.from_pat(1000), 1))
    assert len(grown.started) == 1000
    assert max(grown.started) <= 1.25 * 300


def test_one_alone_does_not_wait():
    """Two reads, one delete, and no pause."""
    grown = fleet.everybody(played(fleet.from_ssm(1), 1))
    assert grown.counts.calls == {"GetParameter": 2, "configure": 1, "DeleteParameter": 1}
    assert max(grown.deleted) < 3


def test_an_agent_that_fails_is_not_passed_over(monkeypatch):
    """A figure is only given for a fleet of which everybody started."""
    monkeypatch.setattr(fleet, "TOKEN_TIMEOUT", 2.0)
    with pytest.raises(RuntimeError, match=r"of 200 agents failed, one because: .*throttled"):
        fleet.read(200)


def test_the_same_seed_gives_the_same_run():
    """So that a figure can be looked into; the chance of everything else is left alone."""
    before = random.getstate()
    assert fleet.read(50, 7) == fleet.read(50, 7)
    assert random.getstate() == before


def test_the_picture_is_well_formed():
    """One curve for the agents and one for the limit, in each of its two halves."""
    from xml.etree import ElementTree as ET

    picture = ET.fromstring(plot.draw(played(fleet.from_ssm(50), 1)))  # noqa: S314  our own
    curves = [
        shape
        for shape in picture.iter("{http://www.w3.org/2000/svg}polyline")
        if len(shape.get("points").split()) > 50
    ]
    assert len(curves) == 2


def test_virtual_time_passes_at_once():
    """An hour takes no time, and what waits for nothing is told instead of hanging."""
    began = time.monotonic()

    async def an_hour():
        async with asyncio.timeout(3601):
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=Loop) as runner, pytest.raises(TimeoutError):
        runner.run(an_hour())
    assert time.monotonic() - began < 60


def test_what_can_never_happen_is_told():
    """A play that waits for nothing at all ends with an error."""
    loop = Loop()
    try:
        with pytest.raises(Stuck):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()


def test_a_bucket_fills_with_time():
    """A second's worth at once, then so many a second; what is refused costs nothing."""

    async def play():
        bucket = limits.Bucket(5)
        granted = [bucket.takes() for _ in range(7)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        return granted, [bucket.takes() for _ in range(6)]

    first, later = played(play(), 1)
    assert first == [True] * 5 + [False] * 2
    assert later == [True] * 5 + [False]
