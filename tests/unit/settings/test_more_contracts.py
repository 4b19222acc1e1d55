"""Which launcher is recognised by what, among all of them; and what the further six mean."""

import getpass
from itertools import combinations

import pytest

from sidecar import host
from sidecar.errors import SettingsError
from sidecar.settings import contracts
from sidecar.settings.load import load

URL = "https://github.com/o/r"
MACHINE = "i-0123456789abcdef0"
CONFIG = "/github-action-runners/build/runners/config"
EXAMPLES = {
    "fargate": {"RUNNER_TOKEN_PATH": "/t", "ORGANIZATION": "o", "REPO": "r"},
    "passeidireto": {
        "GITHUB_PERSONAL_TOKEN": "ghp_local",
        "GITHUB_OWNER": "o",
        "GITHUB_REPOSITORY": "r",
    },
    "myoung34": {"RUNNER_TOKEN": "AAAAAAAAAA", "REPO_URL": URL},
    "cdk": {"RUNNER_TOKEN": "AAAAAAAAAA", "REGISTRATION_URL": URL},
    "fleet": {"RUNNER_TOKEN": "AAAAAAAAAA", "RUNNER_REPOSITORY_URL": URL},
    "pagopa": {"GITHUB_TOKEN": "AAAAAAAAAA", "GITHUB_REPOSITORY": URL},
    "cmcs": {"PERSONAL_ACCESS_TOKEN": "ghp_local", "REPO_OWNER": "o", "REPO_NAME": "r"},
    "terraform": {"SIDECAR_LAUNCH_CONFIG": CONFIG, "SIDECAR_LAUNCH_ID": MACHINE},
    "garo": {"RUNNER_REPO": "o/r", "RUNNER_NAME": "github-runner-spot-qwertyuiop"},
    "ec2": {"SIDECAR_LAUNCH_ID": MACHINE},
}
"""The least that each launcher sets."""
TAGGED = {
    "instance-id": MACHINE,
    "placement/region": "eu-west-2",
    "tags/instance/ghr:ssm_config_path": CONFIG,
    "tags/instance/ghr:environment": "build",
}
"""What a machine of terraform-aws-github-runner is told about itself."""


@pytest.fixture
def installed(tmp_path):
    """Give what every agent has: a runner's folder and a user."""
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    return {"SIDECAR_RUNNER_DIR": str(tmp_path), "SIDECAR_RUNNER_USER": getpass.getuser()}


def problems(environ, machine=None):
    """Return the lines with which these variables are refused."""
    with pytest.raises(SettingsError) as refused:
        load([], environ, machine)
    return refused.value.problems


def test_every_launcher_has_an_example():
    """A new contract is tested against all others, or this fails."""
    assert set(EXAMPLES) == {contract.name for contract in contracts.CONTRACTS}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_launcher_is_recognised_by_its_own_variables_alone(name, installed):
    """Though RUNNER_TOKEN, GITHUB_REPOSITORY and RUNNER_NAME are in more than one."""
    config = load([], installed | EXAMPLES[name])
    assert config.launcher.contract == name
    assert set(config.launcher.mark) <= set(EXAMPLES[name])
    assert not set(config.passed_on) & set(EXAMPLES[name])


@pytest.mark.parametrize("pair", list(combinations(EXAMPLES, 2)), ids="-".join)
def test_two_launchers_contradict_each_other_by_name(pair, installed):
    """One line names variables of both; SIDECAR_LAUNCHER decides."""
    one, other = pair
    both = EXAMPLES[one] | EXAMPLES[other]
    if EXAMPLES[one].items() & EXAMPLES[other].items() == EXAMPLES[other].items():
        assert load([], installed | both).launcher.contract == one  # ec2 is part of terraform
        return
    (line,) = problems(installed | both)
    for name in pair:
        assert any(variable in line for variable in EXAMPLES[name])
    assert " contradicts " in line
    assert "ghp_local" not in line
    assert "(example: " in line


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_launcher_contradicts_a_token_of_the_user_s_own(name, installed):
    """Exit code 11, and one line that names both."""
    (line,) = problems(installed | EXAMPLES[name] | {"SIDECAR_TOKEN_PARAMETER": "/u"})
    assert "SIDECAR_TOKEN_PARAMETER" in line
    assert any(variable in line for variable in EXAMPLES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_user_s_own_settings_win(name, installed):
    """Whatever the launcher says about name, labels, group and place."""
    own = {
        "SIDECAR_NAME": "mine",
        "SIDECAR_LABELS": "mine",
        "SIDECAR_RUNNER_GROUP": "mine",
        "SIDECAR_GITHUB_URL": "https://github.com/mine",
        "SIDECAR_WORK_DIR": "mine",
        "SIDECAR_LIFETIME_LIMIT": "60",
    }
    more = {"LABELS": "a", "RUNNER_LABELS": "b", "RUNNER_UUID": "c", "WORK_DIR": "d"}
    settings = load([], installed | EXAMPLES[name] | more | own).settings
    assert (settings.name, settings.labels, settings.runner_group) == ("mine", ("mine",), "mine")
    assert (settings.github_url, settings.work_dir) == ("https://github.com/mine", "mine")
    assert settings.lifetime_limit == 60


# --- one name, several meanings ------------------------------------------------------------------


@pytest.mark.parametrize("repository", ["r", "o/r", "", "github.com/o/r", "https://github.com/o"])
def test_github_token_is_pagopa_s_only_beside_a_url(repository):
    """Jobs' own GITHUB_TOKEN beside a repository's name is passed on, as it always was."""
    env = {"GITHUB_TOKEN": "ghp_local", "GITHUB_REPOSITORY": repository}
    assert contracts.read_launcher(env) == contracts.NO_LAUNCHER


def test_github_repository_has_three_meanings():
    """A bare name or owner/name for passeidireto, a URL for pagopa, nothing on its own."""
    both = EXAMPLES["passeidireto"] | {"GITHUB_TOKEN": "ghp_local"}
    for repository in ("r", "o/r"):
        found = contracts.read_launcher(both | {"GITHUB_REPOSITORY": repository})
        assert (found.contract, found.settings["github_url"]) == ("passeidireto", URL)
    found = contracts.read_launcher(EXAMPLES["pagopa"])
    assert found.settings["github_url"] == URL
    for repository in ("r", "o/r", URL):
        assert contracts.read_launcher({"GITHUB_REPOSITORY": repository}) == contracts.NO_LAUNCHER


def test_a_chosen_launcher_says_which_form_it_needs():
    """SIDECAR_LAUNCHER=pagopa beside a bare name is a mistake; the line says what is wrong."""
    env = {"GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "o/r"}
    (line,) = contracts.read_launcher(env, "pagopa").problems
    assert "that launcher sets GITHUB_TOKEN and GITHUB_REPOSITORY (a URL)" in line


def test_a_runner_s_repository_alone_is_not_garo_s():
    """RUNNER_REPO and RUNNER_NAME are common words: the name must be one that GARO makes."""
    for name in ("builder", "github-runner", "github-runner-spot"):
        env = {"RUNNER_REPO": "o/r", "RUNNER_NAME": name}
        assert contracts.read_launcher(env) == contracts.NO_LAUNCHER


# --- what they mean ------------------------------------------------------------------------------


def test_what_fleet_sets():
    """The image's own labels and name where there are none; the shared name becomes a prefix."""
    found = contracts.read_launcher(EXAMPLES["fleet"])
    assert found.settings == {
        "token": "AAAAAAAAAA",
        "github_url": URL,
        "labels": "ecs-fargate",
        "name_prefix": "fargate-runner-",
    }
    long = contracts.read_launcher(EXAMPLES["fleet"] | {"RUNNER_NAME": "x" * 64}).settings
    assert long["name_prefix"] == "x" * 39 + "-"


def test_what_pagopa_sets():
    """The time limit of its image, a folder, and a label; it never asks for input."""
    more = {
        "ECS_TASK_MAX_DURATION_SECONDS": "7200",
        "WORK_DIR": ".workdir",
        "LABELS": "a",
        "RUNNER_NAME": "8654321--1764230400",
        "INTERACTIVE_MODE": "true",
    }
    found = contracts.read_launcher(EXAMPLES["pagopa"] | more)
    assert found.settings == {
        "token": "AAAAAAAAAA",
        "github_url": URL,
        "lifetime_limit": "7200",
        "work_dir": ".workdir",
        "labels": "a",
        "name": "8654321--1764230400",
    }
    assert [text.split(":")[0] for text in found.ignored] == ["INTERACTIVE_MODE"]


def test_a_wrong_time_limit_is_named_as_pagopa_does(installed):
    """The line names the launcher's variable, which is where the value is."""
    wrong = EXAMPLES["pagopa"] | {"ECS_TASK_MAX_DURATION_SECONDS": "soon"}
    (line,) = problems(installed | wrong)
    assert line.startswith("ECS_TASK_MAX_DURATION_SECONDS must be")


@pytest.mark.parametrize(
    ("env", "labels"),
    [
        ({}, None),
        ({"RUNNER_LABELS": "a b"}, "a,b"),
        ({"RUNNER_LABELS": " a,b  c "}, "a,b,c"),
        ({"RUNNER_UUID": "u"}, "u"),
        ({"RUNNER_UUID": "u", "RUNNER_LABELS": "a b"}, "u,a,b"),
    ],
)
def test_which_labels_cmcs_sets(env, labels):
    """The run's own id first, then labels separated by spaces or commas."""
    assert contracts.read_launcher(EXAMPLES["cmcs"] | env).settings.get("labels") == labels


def test_cmcs_registers_at_the_server_that_the_user_names():
    """It knows only owner and repository."""
    found = contracts.read_launcher(
        EXAMPLES["cmcs"], native={"github_server": "https://ghe.example.com"}
    )
    assert found.settings["github_url"] == "https://ghe.example.com/o/r"


def test_garo_s_pat_is_in_its_parameter_unless_it_is_exported():
    """The region is that of its own variable, which AWS's library does not read."""
    found = contracts.read_launcher(EXAMPLES["garo"] | {"RUNNER_REGION": "eu-west-2"})
    assert found.settings["github_pat"] == "ssm:/github/runner/pat"
    assert (found.settings["labels"], found.region) == ("spot,qwertyuiop", "eu-west-2")
    exported = contracts.read_launcher(EXAMPLES["garo"] | {"RUNNER_CFG_PAT": "ghp_local"})
    assert exported.settings["github_pat"] == "ghp_local"


# --- machines ------------------------------------------------------------------------------------


def test_garo_s_additional_label_is_a_tag(installed):
    """It is in no variable; the machine's tags bring it."""
    config = load([], installed | EXAMPLES["garo"], {"tags/instance/Label": "docker"})
    assert config.settings.labels == ("spot", "qwertyuiop", "docker")


@pytest.mark.parametrize("prefix", ["", "build-", "x" * 45])
def test_terraform_by_a_machine_s_tags(installed, prefix):
    """What stands in tags means what the variables mean; the name ends with the machine's id."""
    named = {"tags/instance/ghr:runner_name_prefix": prefix}
    config = load([], installed, TAGGED | named)
    assert config.launcher.contract == "terraform"
    assert config.launcher.mark == ("tags/instance/ghr:ssm_config_path", "instance-id")
    assert (config.settings.launch_config, config.settings.launch_id) == (CONFIG, MACHINE)
    assert config.settings.name == (prefix + MACHINE if prefix else None)
    assert config.task.region == "eu-west-2"
    variables = load([], installed | EXAMPLES["terraform"]).settings
    assert variables.launch_config == config.settings.launch_config
    assert variables.launch_id == config.settings.launch_id


def test_our_variables_win_over_a_machine_s_tags(installed):
    """They are the user's own settings."""
    own = {"SIDECAR_LAUNCH_CONFIG": "/mine", "SIDECAR_LAUNCH_ID": "mine", "AWS_REGION": "eu-west-1"}
    config = load([], installed | own, TAGGED)
    assert (config.settings.launch_config, config.settings.launch_id) == ("/mine", "mine")
    assert config.task.region == "eu-west-1"


def test_a_machine_without_anything_else_is_ec2_s(installed):
    """Its launcher sets nothing there; every machine has an id, so all others come first."""
    machine = {"instance-id": MACHINE}
    config = load([], installed, machine)
    assert (config.launcher.contract, config.settings.launch_id) == ("ec2", MACHINE)
    assert load([], installed | EXAMPLES["fleet"], machine).launcher.contract == "fleet"
    own = load([], installed | {"SIDECAR_TOKEN_PARAMETER": "/t"}, machine)
    assert own.launcher == contracts.NO_LAUNCHER
    assert load([], installed | {"SIDECAR_LAUNCHER": "ec2"}, TAGGED).settings.launch_config is None
    assert problems(installed | {"SIDECAR_LAUNCHER": "native"}, machine)


def test_ec2_has_no_configuration(installed):
    """Whoever names it beside terraform's variable is told that they contradict each other."""
    env = EXAMPLES["terraform"] | {"SIDECAR_LAUNCHER": "ec2"}
    (line,) = problems(installed | env)
    assert line.startswith("SIDECAR_LAUNCH_CONFIG contradicts SIDECAR_LAUNCHER=ec2")


def test_options_are_a_mark_too(installed):
    """--launch-config says the same as SIDECAR_LAUNCH_CONFIG."""
    config = load(["--launch-config", CONFIG, "--launch-id", MACHINE], installed)
    assert config.launcher.contract == "terraform"


def test_a_machine_s_id_is_checked(installed):
    """It becomes part of a parameter's name: one that is none is refused by name."""
    (line,) = problems(installed | {"SIDECAR_LAUNCH_ID": "i 1"})
    assert line.startswith("SIDECAR_LAUNCH_ID must be the id of a machine or a task")
