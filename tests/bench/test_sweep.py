"""Orphans on a virtual clock: the launcher's own sweep against the limits of its peers."""

import pytest

from bench import sweep


def test_many_orphans_are_gone_as_fast_as_ssm_permits_beside_the_agents():
    """Ten tokens with a call; no call is refused, neither of the sweep nor of an agent."""
    swept = sweep.check(sweep.run_sweep(1000))
    assert swept.left == []
    assert swept.calls["ssm:DeleteParameters"] <= 1000 / 10 + 1000 / sweep.TASKS_OF
    assert swept.seconds < swept.least + 20


def test_a_sweep_that_leaves_something_or_is_refused_is_no_figure():
    """Else a faster one would look better."""
    for wrong in (sweep.Swept(1, left=["one"]), sweep.Swept(1, refused={"ssm:GetParameter": 1})):
        with pytest.raises(RuntimeError):
            sweep.check(wrong)
