"""A job that computes with many processes does not keep the agent from ending in time."""

import pytest

from tests.adversary.cell import play


@pytest.mark.root
@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_a_stop_gives_the_jobs_processes_the_lowest_priority(mended):
    """All of them, by one call; neither the agent nor another user's process, and not before."""
    result = play("priorities", mended)
    assert result == {"before": [0], "after": [19] if mended else [0], "others": [0, 0]}
