"""A fleet that starts in one second shares the rate limits of SSM and GitHub; no agent fails."""

import asyncio
import random
import time

import pytest

from bench import fleet, limits, plot
from bench.virtual import Loop, Stuck, run_virtually


def test_a_thousand_start_as_fast_as_ssm_permits():
    """All start within 1.25 times SSM's own time; none fails, and every token is deleted."""
    found = fleet.run_fleet()
    assert found["fleet_start_vs_limit"] <= 1.25
    assert found["fleet_reads_per_start"] <= 8
    assert found["fleet_last_delete_s"] <= 1.5 * fleet.SIZE / limits.DELETES


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_smaller_fleets_start_as_well(seed):
    """All of 200 start, with any seed; each token is deleted once."""
    result = fleet.check(run_virtually(fleet.start_from_ssm(200), seed))
    assert len(result.started) == len(result.deleted) == 200
    assert result.counts.calls["configure"] == 200


def test_a_fleet_leaves_calls_to_others_in_the_account():
    """Nine of ten reads of others succeed at once, and the fleet starts in time."""
    result = fleet.check(run_virtually(fleet.start_from_ssm(1000, others=2), 1))
    assert result.start_vs_limit <= 1.25
    assert result.counts.refused["others"] <= 0.1 * result.counts.calls["others"]


def test_agents_that_wait_let_the_launcher_write_their_tokens():
    """The launcher shares the limit with agents that poll for its tokens; they pause longer."""
    result = fleet.check(run_virtually(fleet.start_from_ssm(500, late=5), 1))
    assert len(result.started) == len(result.deleted) == 500


def test_a_fleet_mints_with_one_access_token():
    """GitHub permits 180 tokens a minute: the last of 1,000 comes in the sixth, and none fails.

    The default of SIDECAR_TOKEN_TIMEOUT, five minutes, is too short for that (docs/fleet.md).
    """
    result = fleet.check(run_virtually(fleet.start_from_pat(1000), 1))
    assert len(result.started) == 1000
    assert max(result.started) <= 1.25 * 300


def test_one_agent_alone_does_not_wait():
    """It makes two reads and one delete, without a pause."""
    result = fleet.check(run_virtually(fleet.start_from_ssm(1), 1))
    assert result.counts.calls == {"GetParameter": 2, "configure": 1, "DeleteParameter": 1}
    assert max(result.deleted) < 3


def test_an_agent_that_fails_is_reported(monkeypatch):
    """There are figures only for a fleet in which every agent started."""
    monkeypatch.setattr(fleet, "TOKEN_TIMEOUT", 2.0)
    with pytest.raises(RuntimeError, match=r"of 200 agents failed, one because: .*throttled"):
        fleet.run_fleet(200)


def test_the_same_seed_gives_the_same_run():
    """A figure can be reproduced; the random state of everything else does not change."""
    before = random.getstate()
    assert fleet.run_fleet(50, 7) == fleet.run_fleet(50, 7)
    assert random.getstate() == before


def test_the_picture_is_well_formed():
    """Each of its two halves has one curve for the agents."""
    from xml.etree import ElementTree as ET

    picture = ET.fromstring(plot.draw(run_virtually(fleet.start_from_ssm(50), 1)))  # noqa: S314  our own
    curves = [
        shape
        for shape in picture.iter("{http://www.w3.org/2000/svg}polyline")
        if len(shape.get("points").split()) > 50
    ]
    assert len(curves) == 2


def test_virtual_time_passes_at_once():
    """An hour of virtual time takes no real time."""
    began = time.monotonic()

    async def an_hour():
        async with asyncio.timeout(3601):
            await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=Loop) as runner, pytest.raises(TimeoutError):
        runner.run(an_hour())
    assert time.monotonic() - began < 60


def test_a_run_in_which_all_tasks_wait_is_an_error():
    """It ends with Stuck, and does not hang."""
    loop = Loop()
    try:
        with pytest.raises(Stuck):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()


def test_a_bucket_fills_with_time():
    """It grants one second's worth at once, then its rate; a refused call costs nothing."""

    async def work():
        bucket = limits.Bucket(5)
        granted = [bucket.take() for _ in range(7)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        return granted, [bucket.take() for _ in range(6)]

    first, later = run_virtually(work(), 1)
    assert first == [True] * 5 + [False] * 2
    assert later == [True] * 5 + [False]
