"""SIDECAR_ROLES: the rules, a file of them, or the names of SSM parameters."""

import pytest

from sidecar.errors import SettingsError
from sidecar.roles.rules import Roles
from sidecar.settings import load as loading
from sidecar.settings.given_roles import RolesParameters
from sidecar.settings.load import load

RULES = '[[job]]\nrole = "arn:aws:iam::123456789012:role/a"'
CONTAINERS = f"{RULES}\n[[container]]\nimage = 'a'\nrole = 'none'"


@pytest.fixture(autouse=True)
def runner_dir(tmp_path, monkeypatch):
    """Make a folder that holds a runner."""
    (tmp_path / "bin").mkdir()
    for name in ("Runner.Listener", "Runner.Listener.exe"):
        (tmp_path / "bin" / name).touch()
    monkeypatch.setattr(loading.checks, "choose_user", lambda *_: (None, []))
    return tmp_path


def read(runner_dir, roles, *options, **env):
    """Return the setting's value in these surroundings."""
    given = {
        "SIDECAR_TOKEN": "T",
        "SIDECAR_RUNNER_DIR": str(runner_dir),
        "SIDECAR_GITHUB_URL": "https://github.com/octo-org",
        "SIDECAR_ROLES": roles,
        **env,
    }
    return load(options, given).settings.roles


def mistakes(runner_dir, roles, *options, **env):
    """Return the lines with which the settings are refused."""
    with pytest.raises(SettingsError) as wrong:
        read(runner_dir, roles, *options, **env)
    assert wrong.value.exit == 11
    return wrong.value.problems


def test_the_rules_stand_in_the_variable_or_in_a_file(runner_dir):
    """The text may end with a quotation mark, which is TOML's."""
    file = runner_dir / "roles.toml"
    file.write_text(RULES)
    inline = read(runner_dir, RULES)
    assert isinstance(inline, Roles)
    assert read(runner_dir, f"file:{file}") == inline
    assert read(runner_dir, f"\n{RULES}\n") == inline


def test_the_names_of_parameters_are_read_later(runner_dir):
    """The settings contact nothing."""
    found = read(runner_dir, "ssm:/actions/roles + /actions/more")
    assert found == RolesParameters(("/actions/roles", "/actions/more"))
    assert mistakes(runner_dir, "ssm:")[0].startswith("SIDECAR_ROLES must be ssm: and the name")


def test_every_mistake_of_the_rules_is_a_line(runner_dir):
    """With the setting's name, beside the mistakes of other settings; no rule is shown whole."""
    lines = mistakes(runner_dir, f"{RULES}\nref = 'main'\nevnt = 'push'", SIDECAR_IDLE_LIMIT="x")
    assert [line.partition(":")[0].partition(" ")[0] for line in lines] == [
        "SIDECAR_IDLE_LIMIT",
        "SIDECAR_ROLES",
        "SIDECAR_ROLES",
    ]
    assert lines[1].startswith("SIDECAR_ROLES: job 1: ref: 'main' must be a whole ref")
    assert lines[2] == "SIDECAR_ROLES: job 1: evnt: is no key here; did you mean event?"


def test_a_file_that_cannot_be_read_is_a_mistake(runner_dir):
    """One that is too long is not cut: its last rules would be missing."""
    (line,) = mistakes(runner_dir, "file:/nowhere/roles.toml")
    assert line.startswith("SIDECAR_ROLES cannot be read from /nowhere/roles.toml: No such file")
    file = runner_dir / "roles.toml"
    file.write_text(RULES + "\n#" + "x" * (256 * 1024))
    (line,) = mistakes(runner_dir, f"file:{file}")
    assert "it is longer than 262144 bytes" in line
    file.write_bytes(b"\xff")
    (line,) = mistakes(runner_dir, f"file:{file}")
    assert "it is not text" in line


@pytest.mark.parametrize(
    ("env", "named"),
    [
        (
            {"SIDECAR_JOB_ROLE_ARN": "arn:aws:iam::123456789012:role/b"},
            "SIDECAR_JOB_ROLE_ARN contradicts SIDECAR_ROLES",
        ),
        (
            {"SIDECAR_JOB_POLICY": '{"Statement": []}'},
            "SIDECAR_JOB_POLICY contradicts SIDECAR_ROLES",
        ),
        ({"SIDECAR_RELAY": "off"}, "SIDECAR_ROLES contradicts SIDECAR_RELAY=off"),
        ({"SIDECAR_RELAY": "pass-through"}, "SIDECAR_ROLES contradicts SIDECAR_RELAY=pass-through"),
        ({"SIDECAR_DOCKER_PROXY": "off"}, "SIDECAR_ROLES has [[container]], which contradicts"),
    ],
)
def test_the_rules_contradict_other_settings(runner_dir, env, named):
    """Exit code 11, one line."""
    (line,) = mistakes(runner_dir, CONTAINERS, **env)
    assert line.startswith(named)


def test_a_command_has_no_rules(runner_dir):
    """Nobody says there who the job is."""
    (line,) = mistakes(runner_dir, RULES, "--", "sh")
    assert line.startswith("SIDECAR_ROLES contradicts a command after --")
