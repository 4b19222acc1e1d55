"""The checks of settings against each other, each with its line."""

import pytest

from sidecar.settings import checks


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"name": "n"},
        {"docker_strict": "false", "docker_proxy": "off"},
        {"relay_required": "true", "relay": "local"},
        {"job_role_arn": "arn", "relay": "auto"},
    ],
)
def test_settings_that_fit_are_no_contradiction(given):
    """A switch that is off contradicts nothing."""
    assert checks.check_contradictions(given) == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"docker_strict": "on", "docker_proxy": "OFF"}, "SIDECAR_DOCKER_STRICT"),
        ({"job_role_arn": "arn", "relay": "off"}, "SIDECAR_JOB_ROLE_ARN"),
        ({"job_policy": "{}", "relay": "Pass-Through"}, "SIDECAR_JOB_POLICY"),
        ({"name": "n", "name_prefix": "p"}, "SIDECAR_NAME_PREFIX"),
    ],
)
def test_a_contradiction_is_one_line(given, named):
    """It names the setting, in any case of its value, and shows an example."""
    (line,) = checks.check_contradictions(given)
    assert line.startswith(f"{named} contradicts ")
    assert "(example: " in line


def test_a_wrong_value_is_named_by_the_launcher_s_variable():
    """The user has set that one, and finds it; the example shows the agent's own."""
    detail = {"loc": ("labels",), "type": "value_error", "ctx": {"error": "is wrong"}, "msg": ""}
    (line,) = checks.describe_problems(detail, {"labels": "-x"}, {"labels": "RUNNER_LABELS"})
    assert line == "RUNNER_LABELS is wrong, not '-x' (example: SIDECAR_LABELS=ecs,large)"
