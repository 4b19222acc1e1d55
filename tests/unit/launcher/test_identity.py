"""The names that are known before the thing exists."""

import re

from launcher import identity

TASK = "arn:aws:ecs:eu-central-1:123456789012:task/runners/" + "0f" * 16


def test_an_id_depends_on_deployment_scope_and_key_alone():
    """Whoever meets the same launch again makes the same id, today and tomorrow."""
    made = identity.launch_id("default", "https://github.com/o/r", "run-1", "0")
    assert made == identity.launch_id("default", "https://github.com/o/r", "run-1", "0")
    assert re.fullmatch("[0-9a-f]{32}", made)
    others = {
        identity.launch_id("other", "https://github.com/o/r", "run-1", "0"),
        identity.launch_id("default", "https://github.com/o", "run-1", "0"),
        identity.launch_id("default", "https://github.com/o/r", "run-1", "1"),
        identity.launch_id("default", "https://github.com/o/r", "run-10"),
        identity.launch_id("default", "https://github.com/o/r", "run-", "10"),
    }
    assert len(others - {made}) == 5


def test_each_try_round_and_step_has_a_client_token():
    """AWS remembers refusals by it; it takes 64 characters."""
    tokens = {
        identity.client_token("id", try_, round_, step)
        for try_ in (1, 2)
        for round_ in (1, 2)
        for step in (0, 1)
    }
    assert len(tokens) == 8
    assert all(re.fullmatch("[!-~]{1,64}", token) for token in tokens)
    assert identity.client_token("id", 1, 11, 0) != identity.client_token("id", 11, 1, 0)


def test_started_by_is_accepted_by_ecs():
    """128 characters of letters, digits, hyphens, underscores and slashes."""
    made = identity.started_by(identity.launch_id("d", "https://github.com/o/r[bot]", "k"))
    assert re.fullmatch("[A-Za-z0-9_/-]{1,128}", made)


def test_a_runner_s_name_holds_its_whole_task_id():
    """Also with the longest prefix and a generation of three digits."""
    assert identity.runner_name("ecs-", TASK, 1) == f"ecs-{'0f' * 16}-1"
    longest = identity.runner_name("p" * identity.LONGEST_PREFIX, TASK, 999)
    assert len(longest) == 64
    assert longest.endswith("0f-999")


def test_a_parameter_is_named_for_its_task():
    """By the id alone, as the agent finds it."""
    assert identity.parameter_name("/tokens", TASK) == f"/tokens/{'0f' * 16}"
