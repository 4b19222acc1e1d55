"""If some process of the runner's user may be another's, only a list of processes is used."""

import pytest

from tests.adversary.cell import open_folder, play

pytestmark = pytest.mark.root


def read_reason(events):
    """Return the reason of the only event."""
    (event,) = events
    assert event["event"] == "process.kill_limited"
    return event["reason"]


@pytest.mark.parametrize("below", [0, 1], ids=["the first process", "below docker's init"])
def test_a_pid_namespace_of_the_container_is_the_agents_own(below):
    """There the kernel's kill is used, and nothing has to be said."""
    assert play("take_user", True, below=below) == []


def test_a_pid_namespace_of_several_containers_is_not():
    """With pidMode task the agent is neither its first process nor that one's child."""
    assert "may be others' too" in read_reason(play("take_user", True, below=2))


def test_an_agent_that_is_not_root_cannot():
    """Its jobs have its own user."""
    assert read_reason(play("take_user", False)) == "jobs have the agent's own user"


def test_a_helper_that_was_there_before_lives_on():
    """The agent did not start it, so somebody needs it; also when agents are killed."""
    with open_folder() as folder:
        result = play("helper_before", folder / "state")
    assert "before the agent began" in read_reason(result["said"])
    assert result["helper lives"]


def test_two_agents_of_one_user_do_not_kill_each_others_jobs():
    """The second one tells the first one's killer that it is not alone any more."""
    with open_folder() as folder:
        result = play("two_agents", folder / "state")
    assert read_reason(result["said"]) == "another agent lives in this pid namespace"
    assert result["job lives"]
