"""The runner of a killed agent: found by its state file, and deregistered."""

import os

import pytest
from structlog.testing import capture_logs

from sidecar.runner.folder import RunnerFolder
from sidecar.runner.killed_agent import find_killed_agent
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
        assert find_killed_agent(root, cleanup_stack, None, None) is None
    assert events == []
    assert cleanup_stack.steps == []


def test_its_runner_is_deregistered_with_the_new_token(saved, program):
    """By the runner's own program, before the new runner is configured; then it is forgotten."""

    async def play():
        killed_agent = find_killed_agent(saved, CleanupStack(), None, None)
        env = {"PATH": os.environ["PATH"]}
        token = RegistrationToken("T")
        await killed_agent.deregister_first(REQUEST, env, token, lambda: True)
        assert killed_agent.cleanup_step.done
        assert not killed_agent.token_usable()

    with capture_logs() as events:
        run("asyncio", play())
    assert program.runs() == ["remove token=T"]
    assert (events[0]["event"], events[0]["name"], events[0]["runner_id"]) == (
        "killed_agent.found",
        "old",
        7,
    )
    assert saved.state_file.read() is None


def test_without_token_and_credential_the_error_says_so(saved):
    """The step fails, the life goes on, and the state file stays for the next agent."""

    async def play():
        killed_agent = find_killed_agent(saved, CleanupStack(), None, None)
        token = RegistrationToken("T")
        await killed_agent.deregister_first(REQUEST, {}, token, lambda: False)
        return killed_agent.cleanup_step.error

    error = run("asyncio", play())
    assert error.startswith("cannot deregister old, the runner of a killed agent: ")
    assert saved.state_file.read().name == "old"


def test_the_same_just_in_time_runner_is_not_deregistered(saved):
    """The new agent was given the runner that the killed one had: it goes on with that."""

    async def play():
        killed_agent = find_killed_agent(saved, CleanupStack(), None, None)
        token = RegistrationToken(jit={}, runner_id=7)
        await killed_agent.deregister_first(REQUEST, {}, token, lambda: False)
        return killed_agent.cleanup_step.result

    assert run("asyncio", play()) == "the same runner again"
