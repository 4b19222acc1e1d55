"""The stop budget is cut into its stages, and everything that takes time fits into them."""

import pytest

from sidecar import process
from sidecar.runner import deregistration
from sidecar.shutdown.budget import CANCELLED_STEP, Budget

DEFAULT = Budget(30.0)


@pytest.mark.parametrize(
    ("total", "interrupt", "kill", "end"),
    [
        (30, 5, 27, 28.2),
        (120, 95, 117, 118.2),
        (25, 0, 22, 23.2),
        (10, 0, 8, 8.8),
        (1, 0, 0.8, 0.88),
    ],
)
def test_the_budget_is_cut_into_its_stages(total, interrupt, kill, end):
    """Interrupt at max(0, total - 25 s), kill at max(0.8 total, total - 3 s), then the cleanup."""
    budget = Budget(total)
    assert budget.interrupt == interrupt
    assert budget.kill == pytest.approx(kill)
    assert budget.end == pytest.approx(end)
    assert budget.interrupt <= budget.kill < budget.killed < budget.containers < budget.end < total


@pytest.mark.parametrize("total", [1, 10, 30, 120, 3600])
def test_an_idle_runner_is_deregistered_before_it_is_killed(total):
    """At least half the budget is for that; a longer one gives it until the interrupt."""
    budget = Budget(total)
    assert total / 2 <= budget.deregister < budget.kill
    assert budget.finish == total / 2


def test_what_ends_a_process_fits_between_kill_and_end_of_the_default_budget():
    """Killing the tree and reading its last output leave time for the interpreter's exit."""
    kill = process.KILL_TIMEOUT + process.LAST_PAUSE
    assert kill + process.LAST_OUTPUT + process.DRAIN_OUTPUT < DEFAULT.total - DEFAULT.kill
    assert DEFAULT.end + CANCELLED_STEP < DEFAULT.total


def test_a_deregistration_by_api_leaves_time_for_the_other_way():
    """Both fit into what an idle runner has before it is killed."""
    assert DEFAULT.deregister > deregistration.API_PATIENCE
