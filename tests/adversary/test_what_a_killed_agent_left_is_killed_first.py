"""Nothing that a killed agent's job left can read the token of the next life."""

import pytest

from tests.adversary.cell import open_folder, play

pytestmark = pytest.mark.root

BOTH = pytest.mark.parametrize("mended", [False, True], ids=["unmended", "mended"])


@BOTH
def test_the_runners_processes_die_with_the_agent(mended):
    """Also its job's daemons, and however the agent is killed."""
    with open_folder() as folder:
        left = play("die_with_agent", folder / "state", mended)
    assert left == 0 if mended else left > 0


@BOTH
def test_a_life_begins_with_the_end_of_what_the_last_one_left(mended):
    """The record of the killed agent tells that no process of that user can be another's."""
    with open_folder() as folder:
        said = play("begin_after_kill", folder / "state", mended)
    (event,) = said["logs"]
    if mended:
        assert said["left"] == 0
        assert (event["event"], event["left"]) == ("process.leftovers_killed", 0)
        assert event["processes"] > 0
    else:
        assert said["left"] > 0
        assert event["event"] == "process.kill_limited"
