"""Some of the storms of `make soak`; and each promise is shown to catch its fault."""

import os
from dataclasses import replace

import pytest

from tests.storms.machines import BAD_ENDS, Fate
from tests.storms.mutations import MUTATIONS
from tests.storms.plan import Machines, make_equal_plan, make_machine_plan
from tests.storms.storm import ON_MACHINES, report_storms, run_storm, run_storms

STORMS = int(os.environ.get("STORMS", "50"))
WITH_MACHINES = int(os.environ.get("STORMS_WITH_MACHINES", "25"))
SEED = os.environ.get("STORMS_SEED", "c")
"""The same each time, so that a change is judged by what it changes; `make soak` has new ones."""
EQUAL = 9
MOST_SEEDS = 60
"""Storms in which a mutation may show itself."""


def test_every_queued_job_runs_once_and_nothing_is_left(record_property):
    """Whatever gets lost, comes twice or dies: see `verdict.py` for what holds at the end."""
    wrong, report = run_storms(f"{SEED}-{number}" for number in range(STORMS))
    record_property(f"storms, seed {SEED}", report)
    assert not wrong, f"{report}\n{wrong[0].tell()}"


def test_machines_end_within_their_limit_whatever_becomes_of_them(record_property):
    """Jobs on machines, and beside them on tasks: the same holds, and no machine lives too long.

    Machines hang, freeze, crash, lose their network, end silently, are stopped from the console,
    are taken by Spot, or come to nothing; there are droughts, quotas and throttles; events get
    lost, and EC2 forgets ended machines early.
    """
    storms = [run_storm(f"{ON_MACHINES}{SEED}-{number}") for number in range(WITH_MACHINES)]
    wrong, report = report_storms(storms)
    record_property(f"storms with machines, seed {SEED}", report)
    assert not wrong, f"{report}\n{wrong[0].tell()}"


@pytest.mark.parametrize("fate", BAD_ENDS)
def test_a_bad_end_of_most_machines_leaves_nothing(fate):
    """Each kind of bad end alone, until all is calm: the machines end, and the jobs run."""
    machines = Machines(("small", "large"), 0.8, (fate,))
    storm = run_storm(f"end-{fate}", replace(make_machine_plan(f"end-{fate}"), machines=machines))
    assert not storm.wrong, storm.tell()
    assert fate is Fate.SPOT or storm.fates[fate] > 0


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
