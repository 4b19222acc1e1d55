"""Sweeps in storms with every intake: nothing of ours is left, and nothing foreign is touched."""

import os

import pytest

from tests.storms.storm import SWEPT, run_storm, run_storms
from tests.storms.swept.faults import FAULTS

STORMS = int(os.environ.get("STORMS_SWEPT", "50"))
SEED = os.environ.get("STORMS_SEED", "a")
MOST_SEEDS = 40
"""Storms in which a fault may show itself."""


def test_a_sweep_leaves_nothing_of_ours_and_touches_nothing_foreign(record_property):
    """Jobs, warm runners, orders of the API and of the command line, and nobody mends by hand."""
    wrong, report = run_storms(f"{SWEPT}{SEED}-{number}" for number in range(STORMS))
    record_property(f"swept storms, seed {SEED}", report)
    assert not wrong, f"{report}\n{wrong[0].tell()}"


@pytest.mark.parametrize("name", FAULTS)
def test_a_sweep_with_one_fault_does_not_pass(name):
    """Each fault makes a storm fail, in the way that it should; without it the storm passes."""
    fault = FAULTS[name]
    seen = set()
    for number in range(MOST_SEEDS):
        seed = f"{SWEPT}{fault_seed(number)}"
        with fault.patch():
            storm = run_storm(seed)
        seen.update(line[:100] for line in storm.wrong)
        if any(shown in line for line in storm.wrong for shown in fault.shown):
            assert not run_storm(seed).wrong
            return
    pytest.fail(f"no storm shows it; what they show: {sorted(seen)}")


def fault_seed(number):
    """Return a seed of the storms above, which pass without a fault."""
    return f"a-{number}"
