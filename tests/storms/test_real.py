"""Storms of real processes: two of them here, ten with `make soak`."""

import asyncio
from dataclasses import replace

import pytest

from tests.storms.real.faulty import FAULTS, command
from tests.storms.real.plan import Plan
from tests.storms.real.storm import play_storm, run_storm

SEEDS = ("c-1", "c-2")
"""The same each time, so that a change is judged by what it changes; `make soak` has new ones."""
PATIENCE = 240.0


@pytest.mark.alone  # time passes fifteen times as fast for the queue: a busy worker is late
@pytest.mark.parametrize("seed", SEEDS)
def test_every_queued_job_runs_once_though_processes_are_killed(seed, record_property):
    """See `real/verdict.py` for what holds at the end."""
    storm = run_storm(seed)
    record_property(f"storm {seed}", f"{storm.jobs} jobs, {storm.killed} kills")
    assert not storm.wrong, storm.tell()
    assert storm.killed


@pytest.mark.alone
@pytest.mark.parametrize("name", FAULTS)
def test_a_launcher_with_one_fault_does_not_pass(name):
    """Each fault shows itself in a small storm, in the way that it should; without it none does."""

    async def play():
        fault = FAULTS[name]
        good = replace(fault.plan, patience=PATIENCE, held_for=Plan.held_for)
        return await asyncio.gather(play_storm(fault.plan, command(name)), play_storm(good))

    faulty, good = asyncio.run(play())
    assert any(FAULTS[name].shown in line for line in faulty.wrong), faulty.tell()
    assert not good.wrong, good.tell()
