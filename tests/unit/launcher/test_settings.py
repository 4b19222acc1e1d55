"""The launcher's settings: all mistakes at once, each with an example."""

from pathlib import Path

import pytest

from launcher.errors import SettingsError
from launcher.settings import Settings, example, load, variable

PAGE = (Path(__file__).parents[3] / "docs" / "launcher.md").read_text()
LEAST = {
    "LAUNCHER_GITHUB_URL": "https://github.com/octo/repo/",
    "LAUNCHER_GITHUB_PAT": "ghp_secret_value",
    "LAUNCHER_CLUSTER": "runners",
    "LAUNCHER_TASK_DEFINITION": "runner:7",
}


def problems(options=None, **changes):
    """Return what is wrong with the least environment and these changes; None removes one."""
    environ = {**LEAST, **{f"LAUNCHER_{key.upper()}": value for key, value in changes.items()}}
    with pytest.raises(SettingsError) as wrong:
        load(options or {}, {key: value for key, value in environ.items() if value is not None})
    return wrong.value.problems


def test_four_settings_are_enough():
    """The others have defaults; a secret is in no representation."""
    settings, warnings = load({}, LEAST)
    assert settings.github_url == "https://github.com/octo/repo"
    assert (settings.just_in_time, settings.container, settings.capacity_providers) == (
        True,
        "runner",
        (),
    )
    assert "ghp_secret_value" not in repr(settings)
    assert warnings == []


def test_an_option_wins_over_its_variable():
    """And an empty variable is not set."""
    environ = {**LEAST, "LAUNCHER_LAUNCH_TYPE": " ", "LAUNCHER_NAME_PREFIX": "a-"}
    settings, _ = load({"name_prefix": "b-", "subnets": "s-1, s-2,s-1"}, environ)
    assert (settings.name_prefix, settings.launch_type) == ("b-", None)
    assert settings.subnets == ("s-1", "s-2")


def test_all_mistakes_are_reported_at_once():
    """One line for each, with an example; a secret is not shown."""
    found = problems(
        cluster=None,
        launch_type="LAMBDA",
        parameter_prefix="tokens",
        name_prefix="x" * 29,
        github_app_id="1",
        github_pat="ghp_secret_value",
    )
    assert [line.split()[0] for line in found] == [
        "LAUNCHER_LAUNCH_TYPE",
        "LAUNCHER_PARAMETER_PREFIX",
        "LAUNCHER_NAME_PREFIX",
        "LAUNCHER_CLUSTER",
        "LAUNCHER_GITHUB_PAT",
    ]
    assert all("(example: LAUNCHER_" in line for line in found)
    assert "ghp_secret_value" not in "".join(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"github_pat": None}, "LAUNCHER_GITHUB_APP_ID is missing, and so is LAUNCHER_GITHUB_PAT"),
        ({"github_pat": None, "github_app_id": "1"}, "LAUNCHER_GITHUB_APP_KEY is missing"),
        (
            {"launch_type": "FARGATE", "capacity_providers": "FARGATE"},
            "contradicts LAUNCHER_CAPACITY_PROVIDERS",
        ),
        ({"security_groups": "sg-1"}, "LAUNCHER_SUBNETS is missing"),
        ({"runner_group": "big ones"}, "LAUNCHER_RUNNER_GROUP must be the group's number"),
        ({"deployment": "a b"}, "LAUNCHER_DEPLOYMENT must be 1 to 64 letters"),
        ({"cluster": "a b"}, "LAUNCHER_CLUSTER must be a name or an ARN, not 'a b'"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes, words):
    """The line says which one to change."""
    (line,) = problems(**changes)
    assert words in line


def test_a_group_may_have_a_name_without_just_in_time():
    """The agent's configure step takes names."""
    environ = {**LEAST, "LAUNCHER_JUST_IN_TIME": "false", "LAUNCHER_RUNNER_GROUP": "big ones"}
    assert load({}, environ)[0].runner_group == "big ones"


def test_an_unknown_variable_is_a_warning_with_the_nearest_name():
    """It may belong to a newer launcher."""
    _, warnings = load({}, {**LEAST, "LAUNCHER_CLUSTR": "x", "OTHER": "y"})
    assert warnings == ["LAUNCHER_CLUSTR is not a setting; did you mean LAUNCHER_CLUSTER?"]


def test_every_setting_is_documented():
    """With its variable, its example and its line of help, as in the code."""
    for field, info in Settings.model_fields.items():
        assert f"| `{variable(field)}` | {info.description} | `{example(field)}` |" in PAGE
