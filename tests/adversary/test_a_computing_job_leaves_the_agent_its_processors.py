"""A job that computes with many processes does not keep the agent from ending in time."""

import pytest

from tests.adversary.cell import play


@pytest.mark.root
@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_a_stop_gives_the_jobs_processes_the_lowest_priority(mended):
    """All of them, by one call; neither the agent nor another user's process, and not before."""
    result = play("priorities", mended)
    assert result == {"before": [0], "after": [19] if mended else [0], "others": [0, 0]}


@pytest.mark.alone
@pytest.mark.root
@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_the_agent_s_own_work_is_as_fast_again(mended):
    """Beside forty processes that compute, the end of a life takes many times longer."""
    assert (play("work_beside_computers", mended) > 3) is mended
