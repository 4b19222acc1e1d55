"""Fifty of the five hundred storms of `make soak`; and each promise is shown to catch its fault."""

import os

import pytest

from tests.storms.mutations import MUTATIONS
from tests.storms.plan import make_equal_plan
from tests.storms.storm import run_storm, run_storms

STORMS = int(os.environ.get("STORMS", "50"))
SEED = os.environ.get("STORMS_SEED", "c")
"""The same each time, so that a change is judged by what it changes; `make soak` has new ones."""
EQUAL = 9
MOST_SEEDS = 12
"""Storms in which a mutation may show itself."""


def test_every_queued_job_runs_once_and_nothing_is_left(record_property):
    """Whatever gets lost, comes twice or dies: see `verdict.py` for what holds at the end."""
    wrong, report = run_storms(f"{SEED}-{number}" for number in range(STORMS))
    record_property(f"storms, seed {SEED}", report)
    assert not wrong, f"{report}\n{wrong[0].tell()}"


def test_equal_jobs_that_take_each_other_s_runners_get_one_task_each():
    """Whichever runner GitHub gives them, and in whatever order it tells: all thefts are swaps."""
    for number in range(EQUAL):
        seed = f"equal-{number}"
        storm = run_storm(seed, make_equal_plan(seed))
        assert not storm.wrong, storm.tell()
        assert storm.tasks == storm.jobs, storm.tell()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_launcher_with_one_fault_does_not_pass(name):
    """Each fault makes a storm fail, in the way that it should; without it the storm passes."""
    mutation = MUTATIONS[name]
    seen = set()
    for number in range(MOST_SEEDS):
        seed = f"mutation-{number}"
        with mutation.applied():
            storm = run_storm(seed, mutation.plan(seed))
        seen.update(line[:100] for line in storm.wrong)
        if any(mutation.shown in line for line in storm.wrong):
            assert not run_storm(seed, mutation.plan(seed)).wrong
            return
    pytest.fail(f"no storm shows it; what they show: {sorted(seen)}")


def test_the_same_seed_gives_the_same_storm():
    """A storm that went wrong can be run again."""
    one, two = run_storm("again-1"), run_storm("again-1")
    assert one.story == two.story
    assert (one.jobs, one.tasks, one.lasted) == (two.jobs, two.tasks, two.lasted)
