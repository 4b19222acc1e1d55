"""The platform: when this may be a machine, and what its tags say."""

from __future__ import annotations

import pytest

from sidecar import host
from sidecar.errors import SettingsError
from sidecar.settings.load import find_question, load
from sidecar.settings.platform import IMDS, Question

MACHINE = {
    "instance-id": "i-0123456789abcdef0",
    "placement/region": "eu-west-2",
    "tags/instance/Name": "runner",
}
TASK = {"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/1"}
OFF = {"AWS_EC2_METADATA_DISABLED": "True"}


@pytest.fixture
def environ(tmp_path, monkeypatch):
    """Return variables with which settings load, but for the token's."""
    monkeypatch.setattr(host, "is_root", lambda: False)
    listener = tmp_path / "bin" / host.LISTENER.name
    listener.parent.mkdir()
    listener.touch()
    return {"SIDECAR_RUNNER_DIR": str(tmp_path), "SIDECAR_GITHUB_URL": "https://github.com/o/r"}


def tags(**given):
    """Return a machine with these tags."""
    return MACHINE | {f"tags/instance/{key}": value for key, value in given.items()}


@pytest.mark.parametrize(
    ("variables", "options", "question"),
    [
        ({}, [], Question(IMDS, expected=False)),
        ({"SIDECAR_PLATFORM": "auto"}, [], Question(IMDS, expected=False)),
        ({"SIDECAR_PLATFORM": "EC2"}, [], Question(IMDS, expected=True)),
        ({}, ["--platform", "ec2"], Question(IMDS, expected=True)),
        ({"SIDECAR_PLATFORM": "ec2"}, ["--platform=ecs"], None),
        ({"SIDECAR_PLATFORM": "nonsense"}, [], None),
        (TASK, [], None),
        ({"ECS_CONTAINER_METADATA_URI": "http://169.254.170.2/v3/1"}, [], None),
        (TASK | {"SIDECAR_PLATFORM": "ec2"}, [], Question(IMDS, expected=True)),
        (OFF, [], None),
        (OFF | {"SIDECAR_PLATFORM": "ec2"}, [], None),
        (
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:80/"},
            [],
            Question("http://127.0.0.1:80", expected=False),
        ),
        ({}, ["--", "sh", "--platform=ecs"], Question(IMDS, expected=False)),
    ],
)
def test_a_task_never_waits_for_metadata(variables, options, question):
    """They are asked only where ECS has set nothing, or where the setting says so."""
    assert find_question(options, variables) == question


@pytest.mark.parametrize(
    ("variables", "reason", "said"),
    [
        ({}, "no answer", "cannot be ec2: the instance metadata service at http://169.254.169.254"),
        ({}, "no answer", "what machine this is: no answer (example"),
        (OFF, "", "SIDECAR_PLATFORM=ec2 contradicts AWS_EC2_METADATA_DISABLED=true"),
    ],
)
def test_a_machine_that_is_demanded_must_be_there(environ, variables, reason, said):
    """One line names the setting and the reason; other mistakes are named with it."""
    wanted = environ | variables | {"SIDECAR_PLATFORM": "ec2", "SIDECAR_STOP_TIMEOUT": "soon"}
    with pytest.raises(SettingsError) as raised:
        load([], wanted | {"SIDECAR_TOKEN_PARAMETER": "/t"}, {}, reason)
    assert any(said in problem for problem in raised.value.problems)
    assert any("SIDECAR_STOP_TIMEOUT" in problem for problem in raised.value.problems)


def test_region_and_machine_are_those_of_the_metadata(environ):
    """Jobs get the region, as in a task; a variable wins."""
    config = load([], environ | {"SIDECAR_TOKEN_PARAMETER": "/t"}, MACHINE)
    assert config.machine == MACHINE
    assert config.task.region == config.passed_on["AWS_REGION"] == "eu-west-2"
    given = {"SIDECAR_TOKEN_PARAMETER": "/t", "AWS_REGION": "eu-north-1"}
    config = load([], environ | given, MACHINE)
    assert config.task.region == config.passed_on["AWS_REGION"] == "eu-north-1"


def test_tags_are_settings(environ):
    """Of the few that differ from launch to launch; variables and options win."""
    machine = tags(
        SIDECAR_TOKEN_PARAMETER="/runners/i-0123456789abcdef0",
        SIDECAR_LABELS="a,b",
        SIDECAR_NAME_PREFIX="build-",
        SIDECAR_RUNNER_GROUP=" ",
    )
    settings = load(["--labels", "c"], environ, machine).settings
    assert settings.token_parameter == "/runners/i-0123456789abcdef0"
    assert (settings.labels, settings.name_prefix, settings.runner_group) == (
        ("c",),
        "build-",
        None,
    )


def test_a_tag_gives_no_other_setting(environ):
    """Neither a right nor a secret: whoever may tag a machine need not be allowed to change it."""
    machine = tags(SIDECAR_RUNNER_USER="root", SIDECAR_TOKEN="AAAA", SIDECAR_RELAY="off")
    config = load([], environ | {"SIDECAR_TOKEN_PARAMETER": "/t"}, machine)
    assert (config.settings.runner_user, config.settings.token) == (None, None)
    assert config.settings.relay == "auto"
    assert len([text for text in config.warnings if "is not read" in text]) == 3
    assert not any("AAAA" in text for text in config.warnings)


def test_a_wrong_tag_is_named(environ):
    """A person must find the tag, and not look for a variable."""
    with pytest.raises(SettingsError, match=r"^tags/instance/SIDECAR_NAME must be 1 to 64"):
        load([], environ | {"SIDECAR_TOKEN_PARAMETER": "/t"}, tags(SIDECAR_NAME="a b"))


@pytest.mark.parametrize("name", ["/runners/{task}", "/runners/{instance}"])
def test_either_placeholder_is_a_name(environ, name):
    """The id of a task, or of a machine, takes its place."""
    assert load([], environ | {"SIDECAR_TOKEN_PARAMETER": name}).settings.token_parameter == name
