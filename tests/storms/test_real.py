"""Storms of real processes: two of them here, ten with `make soak`."""

import pytest

from tests.storms.real.storm import run_storm

SEEDS = ("c-1", "c-2")
"""The same each time, so that a change is judged by what it changes; `make soak` has new ones."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_queued_job_runs_once_though_processes_are_killed(seed):
    """See `real/verdict.py` for what holds at the end."""
    storm = run_storm(seed)
    assert not storm.wrong, storm.tell()
    assert storm.killed
