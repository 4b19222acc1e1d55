"""The settings, as variables and options give them."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import host
from sidecar.cli import run as main
from sidecar.errors import SettingsError
from sidecar.settings import model
from sidecar.settings.load import load
from sidecar.settings.model import Settings
from sidecar.shutdown.signals import Signals
from sidecar.values import Address


@pytest.fixture
def environ(tmp_path):
    """Give the least environment that is accepted."""
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    return {
        "SIDECAR_TOKEN_PARAMETER": "/t",
        "SIDECAR_RUNNER_DIR": str(tmp_path),
        "SIDECAR_RUNNER_USER": getpass.getuser(),
    }


def problems(options, environ):
    """Give the lines with which these settings are refused."""
    with pytest.raises(SettingsError) as refused:
        load(options, environ)
    return refused.value.problems


def test_the_least_is_enough(environ, tmp_path):
    """One parameter is all that must be said; every default is the documented one."""
    config = load([], environ)
    assert config.settings.model_dump() == {
        "token_parameter": "/t",
        "token": None,
        "launcher": "auto",
        "github_server": None,
        "github_app_id": None,
        "github_app_key": None,
        "github_pat": None,
        "just_in_time": False,
        "token_timeout": 300.0,
        "github_url": None,
        "name": None,
        "name_prefix": "ecs-",
        "labels": (),
        "no_default_labels": False,
        "runner_group": None,
        "work_dir": "_work",
        "runner_dir": tmp_path,
        "runner_user": getpass.getuser(),
        "idle_limit": None,
        "lifetime_limit": None,
        "spot_watch": False,
        "job_role_arn": None,
        "job_policy": None,
        "metrics_namespace": None,
        "stop_timeout": 30.0,
        "health_address": {"host": "127.0.0.1", "port": 9190},
        "log_format": "auto",
        "log_level": "info",
        "relay": "auto",
        "relay_required": False,
        "relay_address": {"host": "127.0.0.1", "port": 0},
        "relay_imds": True,
        "docker_proxy": "auto",
        "docker_strict": False,
        "shared_dir": None,
    }
    assert config.warnings == ()


def test_every_setting_can_be_given_as_a_variable(environ):
    """Each is read under its own name, with blanks around it forgiven."""
    config = load(
        [],
        environ
        | {
            "SIDECAR_TOKEN_TIMEOUT": " 20 ",
            "SIDECAR_GITHUB_URL": "https://github.com/o/r/",
            "SIDECAR_NAME": "n",
            "SIDECAR_LABELS": "a, b",
            "SIDECAR_NO_DEFAULT_LABELS": "true",
            "SIDECAR_RUNNER_GROUP": "g",
            "SIDECAR_WORK_DIR": "/w",
            "SIDECAR_STOP_TIMEOUT": "120",
            "SIDECAR_HEALTH_ADDRESS": "off",
            "SIDECAR_LOG_FORMAT": "JSON",
            "SIDECAR_LOG_LEVEL": "Debug",
            "SIDECAR_RELAY": "AUTO",
            "SIDECAR_RELAY_REQUIRED": "1",
            "SIDECAR_RELAY_ADDRESS": "[::1]:81",
        },
    )
    said = config.settings
    assert (said.token_timeout, said.stop_timeout) == (20, 120)
    assert (said.github_url, said.name, said.labels) == ("https://github.com/o/r", "n", ("a", "b"))
    assert (said.no_default_labels, said.runner_group, said.work_dir) == (True, "g", "/w")
    assert (said.health_address, said.relay_address) == (None, Address("::1", 81))
    assert (said.log_format, said.log_level) == ("json", "debug")
    assert (said.relay, said.relay_required) == ("auto", True)


def test_an_option_wins_over_its_variable(environ):
    """Who types an option means it; a switch needs no value."""
    environ |= {"SIDECAR_NAME_PREFIX": "env-", "SIDECAR_RELAY_REQUIRED": "false"}
    options = ["--name-prefix", "cli-", "--relay-required", "--stop-timeout=7"]
    said = load(options, environ).settings
    assert (said.name_prefix, said.relay_required, said.stop_timeout) == ("cli-", True, 7)


def test_an_empty_variable_is_none(environ):
    """Compose files and task definitions pass on what is not set as empty text."""
    said = load([], environ | {"SIDECAR_GITHUB_URL": "", "SIDECAR_LABELS": "  "}).settings
    assert (said.github_url, said.labels) == (None, ())


def test_settings_cannot_be_changed(environ):
    """What a life was told at its start holds to its end."""
    said = load([], environ).settings
    with pytest.raises(ValueError, match="frozen"):
        said.name = "other"


# --- mistakes -----------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once(environ):
    """One line each, with the setting, what is wrong with the value, and an example."""
    environ |= {
        "SIDECAR_TOKEN_TIMEOUT": "soon",
        "SIDECAR_GITHUB_URL": "github.com/o",
        "SIDECAR_LOG_FORMAT": "xml",
        "SIDECAR_STOP_TIMEOUT": "0",
        "SIDECAR_HEALTH_ADDRESS": "0.0.0.0:80",
        "SIDECAR_NO_DEFAULT_LABELS": "perhaps",
    }
    del environ["SIDECAR_TOKEN_PARAMETER"]
    said = dict(line.split(" ", 1) for line in problems([], environ))
    assert said == {
        "SIDECAR_TOKEN_PARAMETER": "is missing, and so are SIDECAR_GITHUB_APP_ID and "
        "SIDECAR_GITHUB_PAT (example: SIDECAR_TOKEN_PARAMETER=/actions/tokens/0f3a)",
        "SIDECAR_TOKEN_TIMEOUT": said["SIDECAR_TOKEN_TIMEOUT"],
        "SIDECAR_GITHUB_URL": "must begin with https://, not 'github.com/o' "
        "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)",
        "SIDECAR_LOG_FORMAT": "must be 'json', 'console' or 'auto', not 'xml' "
        "(example: SIDECAR_LOG_FORMAT=json)",
        "SIDECAR_STOP_TIMEOUT": "must be greater than or equal to 1, not '0' "
        "(example: SIDECAR_STOP_TIMEOUT=30)",
        "SIDECAR_HEALTH_ADDRESS": said["SIDECAR_HEALTH_ADDRESS"],
        "SIDECAR_NO_DEFAULT_LABELS": said["SIDECAR_NO_DEFAULT_LABELS"],
    }
    assert said["SIDECAR_TOKEN_TIMEOUT"].startswith("must be a valid number")
    assert "reachable from the network" in said["SIDECAR_HEALTH_ADDRESS"]
    assert said["SIDECAR_NO_DEFAULT_LABELS"].startswith("must be a valid boolean")


@pytest.mark.parametrize(
    ("given", "contradicted"),
    [
        ({"NAME": "n", "NAME_PREFIX": "p"}, "SIDECAR_NAME_PREFIX contradicts SIDECAR_NAME"),
        ({"NO_DEFAULT_LABELS": "yes"}, "SIDECAR_NO_DEFAULT_LABELS leaves the runner without"),
        (
            {"NO_DEFAULT_LABELS": "1", "LABELS": " , "},
            "SIDECAR_NO_DEFAULT_LABELS leaves the runner without",
        ),
        (
            {"RELAY_REQUIRED": "on", "RELAY": "OFF"},
            "SIDECAR_RELAY_REQUIRED contradicts SIDECAR_RELAY=off",
        ),
    ],
)
def test_what_contradicts_is_refused(environ, given, contradicted):
    """Two settings that cannot both hold are told together, with a way out."""
    environ |= {f"SIDECAR_{name}": value for name, value in given.items()}
    (line,) = problems([], environ)
    assert line.startswith(contradicted)
    assert "(example: " in line


def test_a_secret_in_the_wrong_place_is_not_shown(environ):
    """Neither a token put where its parameter's name belongs, nor one in a URL, is printed."""
    environ |= {
        "SIDECAR_TOKEN_PARAMETER": '{"token": "AAATOPSECRET"}',
        "SIDECAR_GITHUB_URL": "https://ghp_TOPSECRET@github.com/o/r",
    }
    said = problems([], environ)
    assert len(said) == 2
    assert "TOPSECRET" not in "".join(said)
    assert "https://***@github.com/o/r" in said[1]


def test_an_unknown_variable_is_a_warning_with_the_nearest_name(environ):
    """A misspelt setting does not pass in silence, and does not end the life either."""
    config = load([], environ | {"SIDECAR_LABLES": "a", "SIDECAR_QQQQQQ": "b"})
    assert config.warnings == (
        "SIDECAR_LABLES is not a setting; did you mean SIDECAR_LABELS?",
        "SIDECAR_QQQQQQ is not a setting",
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--nam", "x"], "unrecognized arguments: --nam x"),
        (["--name"], "argument --name: expected one argument"),
    ],
)
def test_a_wrong_option_is_a_settings_error(environ, options, why):
    """Not argparse's own exit code 2, which is one of the listener's; and no abbreviations."""
    (line,) = problems(options, environ)
    assert line == f"{why}; see runner-sidecar run --help"


def test_help_has_a_line_for_every_setting(environ, capsys):
    """`--help` lists every option with an example and its sentence; secrets are no options."""
    with pytest.raises(SystemExit) as left:
        load(["--help"], environ)
    assert left.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for field, info in Settings.model_fields.items():
        assert (f"{model.option(field)} " in said) == (field not in model.SECRETS)
        if field in model.SECRETS:
            continue
        assert " ".join(info.description.split()) in said


# --- the right to register ------------------------------------------------------------------------

APP = {"SIDECAR_GITHUB_APP_ID": "1", "SIDECAR_GITHUB_APP_KEY": "-----BEGIN SECRET"}
PAT = {"SIDECAR_GITHUB_PAT": "ghp_SECRET"}
URL = {"SIDECAR_GITHUB_URL": "https://github.com/o/r"}
JIT = {"SIDECAR_JUST_IN_TIME": "true"}
TOKEN = {"SIDECAR_TOKEN_PARAMETER": "/t"}


@pytest.mark.parametrize(
    "given",
    [TOKEN, TOKEN | PAT, TOKEN | APP, URL | PAT, URL | APP, URL | PAT | JIT, URL | APP | JIT],
    ids=["token", "token+pat", "token+app", "pat", "app", "pat+jit", "app+jit"],
)
def test_each_way_to_register_is_enough(environ, given):
    """A credential beside the token serves at the end of the life."""
    del environ["SIDECAR_TOKEN_PARAMETER"]
    config = load([], environ | given)
    assert "SECRET" not in repr(config)
    assert not [key for key in config.passed_on if key.startswith("SIDECAR_")]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (URL, {"SIDECAR_TOKEN_PARAMETER"}),
        (PAT, {"SIDECAR_GITHUB_URL"}),
        (APP, {"SIDECAR_GITHUB_URL"}),
        (URL | {"SIDECAR_GITHUB_APP_ID": "1"}, {"SIDECAR_GITHUB_APP_KEY"}),
        (URL | {"SIDECAR_GITHUB_APP_KEY": "SECRET"}, {"SIDECAR_GITHUB_APP_ID"}),
        (URL | APP | PAT, {"SIDECAR_GITHUB_PAT"}),
        (TOKEN | JIT, {"SIDECAR_JUST_IN_TIME"}),
        (TOKEN | PAT | JIT, {"SIDECAR_JUST_IN_TIME"}),
        (TOKEN | {"SIDECAR_IDLE_LIMIT": "0"}, {"SIDECAR_IDLE_LIMIT"}),
        (TOKEN | {"SIDECAR_LIFETIME_LIMIT": "never"}, {"SIDECAR_LIFETIME_LIMIT"}),
    ],
)
def test_half_a_way_is_refused(environ, given, names):
    """Each mistake names its setting and shows an example, never a secret."""
    del environ["SIDECAR_TOKEN_PARAMETER"]
    said = problems([], environ | given)
    assert {line.split(" ", 1)[0] for line in said} == names
    assert all("(example: " in line for line in said)
    assert "SECRET" not in str(said)


@pytest.mark.parametrize("field", sorted(model.SECRETS))
def test_a_secret_is_a_variable_only(environ, field):
    """Everybody may read a command line."""
    for words in ([model.option(field), "SECRET"], [f"{model.option(field)}=SECRET"]):
        (line,) = problems(words, environ)
        assert line.startswith(f"{model.variable(field)} is a variable only: ")
        assert "SECRET" not in line


def test_the_instance_is_asked_where_aws_sdks_ask_it(environ):
    """The variable that botocore reads, too; the well-known address without it."""
    assert load([], environ).task.instance_uri == "http://169.254.169.254"
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:9/"
    assert load([], environ).task.instance_uri == "http://127.0.0.1:9"


def test_the_process_ends_with_11_and_one_line_for_each(tmp_path):
    """Nothing is contacted and no traceback shown."""
    ended = subprocess.run(
        [sys.executable, "-m", "sidecar", "run", "--relay", "of"],
        env={"SIDECAR_RUNNER_DIR": str(tmp_path), "SIDECAR_RUNNER_USER": getpass.getuser()},
        cwd=Path(model.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (11, "")
    named = sorted(line.split()[0] for line in ended.stderr.splitlines())
    assert named == ["SIDECAR_RELAY", "SIDECAR_RUNNER_DIR", "SIDECAR_TOKEN_PARAMETER"]


def test_the_edge_returns_11(capsys):
    """`main.run` turns wrong settings into lines and the exit code, before any loop."""
    assert main.run(["--nonsense"], {}, Signals()) == 11
    assert capsys.readouterr().err.startswith("unrecognized arguments")


# --- what else is read --------------------------------------------------------------------------


def test_the_runner_gets_everything_but_the_agent_s_own(environ):
    """Proxies, certificates and the tool cache go through; no SIDECAR_ variable does."""
    others = {"HTTPS_PROXY": "http://p:1", "RUNNER_TOOL_CACHE": "/c", "PATH": os.defpath}
    config = load([], environ | others | {"SIDECAR_LABELS": "a", "SIDECAR_UNKNOWN": "x"})
    assert config.passed_on == others


def test_what_ecs_says_is_read(environ):
    """The task's own variables arrive; an empty one is none."""
    task = load(
        [],
        environ
        | {
            "ECS_CONTAINER_METADATA_URI_V4": "http://m/v4/x",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/y",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t",
        },
    ).task
    assert task.metadata_uri == "http://m/v4/x"
    assert task.credentials_relative_uri == "/v2/credentials/y"
    assert task.credentials_full_uri is None
    assert task.credentials_token == "t"
    assert task.credentials_token_file is None


def test_without_root_only_the_agent_s_own_user_will_do(environ, monkeypatch):
    """Another user cannot be become; the same one, or none, is what happens anyway."""
    monkeypatch.setattr(host, "is_root", lambda: False)
    assert load([], environ).user is None
    (line,) = problems([], environ | {"SIDECAR_RUNNER_USER": "somebody-else"})
    assert line.startswith("SIDECAR_RUNNER_USER cannot be 'somebody-else': the agent is not root")
    del environ["SIDECAR_RUNNER_USER"]
    assert load([], environ).user is None


def test_as_root_the_runner_gets_a_user(environ, monkeypatch):
    """By default `runner`; `root` only if it is asked for by name; never one that is not there."""
    monkeypatch.setattr(host, "is_root", lambda: True)
    assert load([], environ | {"SIDECAR_RUNNER_USER": "root"}).user is None
    assert load([], environ | {"SIDECAR_RUNNER_USER": "nobody"}).user == host.identity("nobody")
    (line,) = problems([], environ | {"SIDECAR_RUNNER_USER": "no-such-user"})
    assert line.startswith("SIDECAR_RUNNER_USER names no user of this system: 'no-such-user'")
    del environ["SIDECAR_RUNNER_USER"]
    asked = []
    monkeypatch.setattr(host, "identity", asked.append)
    (line,) = problems([], environ)
    assert (asked, "'runner'" in line) == (["runner"], True)


CDK = {"RUNNER_TOKEN": "AAAAAAAAAA", "REGISTRATION_URL": "https://github.com/octo/repo"}


def test_as_root_a_launcher_s_command_gets_a_user(monkeypatch):
    """`runner`, as in its own image, where there is one; anybody else's command stays root."""
    command = ["--", "true"]
    nobody = host.identity("nobody")
    monkeypatch.setattr(host, "is_root", lambda: True)
    monkeypatch.setattr(host, "identity", {"runner": nobody}.get)
    assert load(command, CDK).user == nobody
    assert load(command, CDK | {"SIDECAR_RUNNER_USER": "root"}).user is None
    assert load(command, {}).user is None
    monkeypatch.setattr(host, "identity", {}.get)
    assert load(command, CDK).user is None
