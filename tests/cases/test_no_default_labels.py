"""No default labels, with labels that come with the token and not from a setting."""

import getpass
import json

import pytest

from sidecar import host
from sidecar.aws.task_metadata import TaskFacts
from sidecar.errors import SettingsError, TokenError
from sidecar.lifecycle.registration_request import make_request
from sidecar.settings import checks
from sidecar.settings.load import load
from sidecar.tokens.value import parse_token

TOKEN = "AABBCCDD1234567890EXAMPLE"
URL = "https://github.com/o/r"


@pytest.fixture
def installed(tmp_path):
    """Give a runner's folder, a user, and the switch."""
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    return {
        "SIDECAR_RUNNER_DIR": str(tmp_path),
        "SIDECAR_RUNNER_USER": getpass.getuser(),
        "SIDECAR_NO_DEFAULT_LABELS": "true",
        "SIDECAR_GITHUB_URL": URL,
    }


@pytest.mark.parametrize(
    "given",
    [
        {"SIDECAR_TOKEN_PARAMETER": "/t"},
        {"SIDECAR_TOKEN": TOKEN},
        {"SIDECAR_LAUNCH_ID": "i-0123456789abcdef0"},
        {"SIDECAR_LAUNCH_CONFIG": "/config", "SIDECAR_LAUNCH_ID": "i-0123456789abcdef0"},
    ],
)
def test_the_settings_leave_it_to_a_token_that_may_bring_labels(installed, given, monkeypatch):
    """Without the mend the agent ends with 11 before it reads the labels."""
    assert load([], installed | given).settings.no_default_labels
    monkeypatch.setattr(checks, "BRINGING_LABELS", set())
    with pytest.raises(SettingsError, match="leaves the runner without any label"):
        load([], installed | given)


@pytest.mark.parametrize("labels", [None, " , "])
def test_without_such_a_token_the_settings_must_have_labels(installed, labels):
    """An access token brings none: exit 11, as before."""
    given = {"SIDECAR_GITHUB_PAT": "ghp_x", **({"SIDECAR_LABELS": labels} if labels else {})}
    with pytest.raises(SettingsError, match="leaves the runner without any label") as refused:
        load([], installed | given)
    assert "(example: SIDECAR_LABELS=ecs)" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"token": TOKEN, "labels": ["a", "b"]}),
        f"--token {TOKEN} --labels a,b",
    ],
)
def test_the_labels_of_the_token_are_registered(installed, text):
    """Alone: the default ones are left out."""
    settings = load([], installed | {"SIDECAR_TOKEN_PARAMETER": "/t"}).settings
    request = make_request(settings, parse_token(text, "/t"), TaskFacts())
    assert request.labels == ("a", "b")
    assert "--no-default-labels" in request.arguments(replaces=False)


def test_a_token_that_brings_none_is_refused_by_name(installed):
    """The runner's program would refuse it, group or not: no job could ask for the runner."""
    settings = load([], installed | {"SIDECAR_TOKEN_PARAMETER": "/t"}).settings
    for text in (TOKEN, json.dumps({"token": TOKEN, "group": "g"})):
        with pytest.raises(TokenError, match="SIDECAR_NO_DEFAULT_LABELS leaves the runner"):
            make_request(settings, parse_token(text, "/t"), TaskFacts())
