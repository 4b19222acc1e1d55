"""The runner of a killed agent: found by its state file, and deregistered."""

import os

import pytest
from structlog.testing import capture_logs

from sidecar.github import GitHubError
from sidecar.runner import killed_agent
from sidecar.runner.folder import RunnerFolder
from sidecar.runner.killed_agent import find_killed_agents
from sidecar.runner.registration_request import RegistrationRequest
from sidecar.shutdown.cleanup import CleanupStack
from sidecar.tokens.value import RegistrationToken
from tests.support.loops import run

REQUEST = RegistrationRequest("https://github.com/o/r", "T", "new", (), False, None, "_work")


@pytest.fixture
def saved(root, program):
    """Give the folder of an agent that was killed after it registered the runner "old"."""
    program('case "$1" in configure) echo "{}" >.runner;; remove) rm -f .runner;; esac\n')
    (root.path / ".runner").write_text('{"agentId": 7}')
    root.state_file.save_runner("old", unique=True)
    root.save_copies()
    return RunnerFolder(root.path, None)


def test_without_a_state_file_there_is_none(root):
    """Nothing is logged, and no cleanup step is registered."""
    cleanup_stack = CleanupStack()
    with capture_logs() as events:
        assert find_killed_agents(root, cleanup_stack, None) is None
    assert events == []
    assert cleanup_stack.steps == []


def test_its_runner_is_deregistered_with_the_new_token(saved, program):
    """By the runner's own program, before the new runner is configured; then it is forgotten."""

    async def play():
        killed_agents = find_killed_agents(saved, CleanupStack(), None)
        env = {"PATH": os.environ["PATH"]}
        token = RegistrationToken("T")
        await killed_agents.deregister_first(REQUEST, env, token, lambda: True)
        assert killed_agents.cleanup_step.done

    with capture_logs() as events:
        run("asyncio", play())
    assert [line.split()[0] for line in program.runs()] == ["remove"]
    assert (events[0]["event"], events[0]["name"], events[0]["runner_id"]) == (
        "killed_agent.found",
        "old",
        7,
    )
    assert saved.state_file.read() == []


def test_without_token_and_credential_the_error_says_so(saved):
    """The step fails, the life goes on, and the state file stays for the next agent."""

    async def play():
        killed_agents = find_killed_agents(saved, CleanupStack(), None)
        token = RegistrationToken("T")
        await killed_agents.deregister_first(REQUEST, {}, token, lambda: False)
        return killed_agents.cleanup_step.error

    error = run("asyncio", play())
    assert error.startswith("cannot deregister old: there is no credential for GitHub's API; ")
    assert error.endswith("(the runner of a killed agent)")
    assert [runner.name for runner in saved.state_file.read()] == ["old"]


def test_the_same_just_in_time_runner_is_not_deregistered(saved):
    """The new agent was given the runner that the killed one had: it goes on with that."""

    async def play():
        killed_agents = find_killed_agents(saved, CleanupStack(), None)
        token = RegistrationToken(jit={}, runner_id=7)
        await killed_agents.deregister_first(REQUEST, {}, token, lambda: False)
        return killed_agents.cleanup_step.result

    assert run("asyncio", play()) == "the same runner again"


def test_what_cannot_be_removed_leaves_the_folder(saved, program):
    """Configure would refuse the folder; the copies serve the runner services at the end."""
    program('case "$1" in remove) echo "response code: Forbidden" >&2; exit 1;; esac\n')
    asked = []

    class Services:
        usable_token = "T"

        def __init__(self, url, token, usable, read_identity):
            asked.append((url, token, usable(), read_identity().runner_id))

        async def deregister(self, runner_id):
            asked.append(runner_id)
            if len(asked) < 3:
                raise GitHubError("odd", 400)

    async def play():
        killed_agents = find_killed_agents(saved, CleanupStack(), None)
        env, token = {"PATH": os.environ["PATH"]}, RegistrationToken("T")
        await killed_agents.deregister_first(REQUEST, env, token, lambda: True)
        assert killed_agents.cleanup_step.error
        assert not saved.is_configured
        saved.state_file.save_runner("new", unique=True)
        await killed_agents.cleanup_step.begin()
        assert killed_agents.cleanup_step.result == "registration-token"

    with pytest.MonkeyPatch.context() as patched, capture_logs() as events:
        patched.setattr(killed_agent, "RunnerService", Services)
        run("asyncio", play())
    assert asked == [(REQUEST.url, "T", True, 7), 7] * 2
    assert [line.split()[0] for line in program.runs()] == ["remove"]
    (set_aside,) = [event for event in events if event["event"] == "killed_agent.set_aside"]
    assert (set_aside["name"], set_aside["runner_id"]) == ("old", 7)
    assert [one.name for one in RunnerFolder(saved.path, None).state_file.read()] == ["new"]


def test_a_second_killed_agent_hides_no_first(saved):
    """Both runners are deregistered, the older one by its saved copies alone."""
    other = RunnerFolder(saved.path, None)
    other.state_file.save_runner("newer", unique=True)

    async def play():
        killed_agents = find_killed_agents(RunnerFolder(saved.path, None), CleanupStack(), None)
        await killed_agents.cleanup_step.begin()
        return killed_agents.cleanup_step.error

    with capture_logs() as events:
        error = run("asyncio", play())
    found = [(event["name"], event["runner_id"]) for event in events]
    assert found == [("newer", 7), ("old", 7)]  # the files in the folder are the newer one's
    assert "deregister newer" in error
    assert "deregister old" in error
