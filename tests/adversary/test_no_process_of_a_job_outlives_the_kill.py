"""No process of a job outlives the kill, so that none can read what a later process is given."""

import pytest

from tests.adversary.cell import open_folder, play

pytestmark = pytest.mark.root


@pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])
def test_a_job_that_forks_all_the_time_reads_no_token(mended):
    """A list of processes never holds all of them; one call to the kernel hits them all."""
    with open_folder() as folder:
        assert play("token_after_kill", folder / "found", mended) == {"read": not mended}
