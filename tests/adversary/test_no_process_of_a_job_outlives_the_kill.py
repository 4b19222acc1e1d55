"""No process of a job outlives the kill, so that none can read what a later process is given."""

import pytest

from tests.adversary.cell import open_folder, play

pytestmark = pytest.mark.root

BOTH = pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])


@BOTH
def test_a_process_that_no_list_shows_reads_no_token(mended):
    """One call to the kernel hits it too, and no process of anybody else's."""
    with open_folder() as folder:
        result = play("token_after_kill", folder / "found", mended)
    assert result == {"read": not mended, "others live": True}


def test_a_job_that_forks_every_millisecond_is_killed():
    """No process can fork while that call is carried out."""
    assert play("forkers_after_kill") == 0


@BOTH
def test_a_process_with_other_ids_in_a_user_namespace_is_killed(mended):
    """Whoever has made a user namespace may end whatever is in it."""
    assert play("namespace_after_kill", mended) is not mended


@BOTH
def test_a_job_cannot_touch_the_process_that_kills(mended):
    """Not stop, slow down or read it; with the runner's real id it could be stopped."""
    done = play("touch_killer", mended)
    assert done == [] if mended else "stop" in done
