"""The settings are read from variables and options, and checked."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import host
from sidecar.cli import run
from sidecar.errors import SettingsError
from sidecar.settings import model
from sidecar.settings.load import load, read
from sidecar.settings.model import Settings
from sidecar.shutdown.signals import Signals
from sidecar.values import Address


@pytest.fixture
def environ(tmp_path):
    """Give the smallest environment that is accepted."""
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    return {
        "SIDECAR_TOKEN_PARAMETER": "/t",
        "SIDECAR_RUNNER_DIR": str(tmp_path),
        "SIDECAR_RUNNER_USER": getpass.getuser(),
    }


def problems(options, environ):
    """Return the lines with which these settings are refused."""
    with pytest.raises(SettingsError) as refused:
        load(options, environ)
    return refused.value.problems


def test_the_token_parameter_is_enough(environ, tmp_path):
    """Every other setting has its documented default."""
    config = load([], environ)
    assert config.settings.model_dump() == {
        "token_parameter": "/t",
        "token": None,
        "launcher": "auto",
        "launch_config": None,
        "launch_id": None,
        "github_server": None,
        "platform": "auto",
        "token_key": None,
        "github_app_id": None,
        "github_app_key": None,
        "github_pat": None,
        "just_in_time": False,
        "token_timeout": 300.0,
        "github_url": None,
        "name": None,
        "name_prefix": "ecs-",
        "labels": (),
        "ecr_registries": (),
        "no_default_labels": False,
        "disable_update": True,
        "runner_group": None,
        "work_dir": "_work",
        "runner_dir": tmp_path,
        "runner_user": getpass.getuser(),
        "idle_limit": None,
        "session_limit": 300.0,
        "lifetime_limit": None,
        "spot_watch": False,
        "job_role_arn": None,
        "job_policy": None,
        "roles": None,
        "job_summary": "off",
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
        "docker_cleanup": "job",
        "shared_dir": None,
    }
    assert config.warnings == ()


def test_every_setting_can_be_given_as_a_variable(environ):
    """Each is read by its own name; blanks around the value are ignored."""
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
            "SIDECAR_SESSION_LIMIT": "Off",
            "SIDECAR_LOG_FORMAT": "JSON",
            "SIDECAR_LOG_LEVEL": "Debug",
            "SIDECAR_RELAY": "AUTO",
            "SIDECAR_RELAY_REQUIRED": "1",
            "SIDECAR_RELAY_ADDRESS": "[::1]:81",
        },
    )
    settings = config.settings
    assert (settings.token_timeout, settings.stop_timeout) == (20, 120)
    assert (settings.github_url, settings.name, settings.labels) == (
        "https://github.com/o/r",
        "n",
        ("a", "b"),
    )
    assert (settings.no_default_labels, settings.runner_group, settings.work_dir) == (
        True,
        "g",
        "/w",
    )
    assert (settings.health_address, settings.relay_address) == (None, Address("::1", 81))
    assert settings.session_limit is None
    assert (settings.log_format, settings.log_level) == ("json", "debug")
    assert (settings.relay, settings.relay_required) == ("auto", True)


def test_an_option_wins_over_its_variable(environ):
    """A switch needs no value."""
    environ |= {"SIDECAR_NAME_PREFIX": "env-", "SIDECAR_RELAY_REQUIRED": "false"}
    options = ["--name-prefix", "cli-", "--relay-required", "--stop-timeout=7"]
    settings = load(options, environ).settings
    assert (settings.name_prefix, settings.relay_required, settings.stop_timeout) == (
        "cli-",
        True,
        7,
    )


def test_an_empty_variable_is_not_set(environ):
    """Compose files and task definitions pass what is not set as empty text."""
    settings = load([], environ | {"SIDECAR_GITHUB_URL": "", "SIDECAR_LABELS": "  "}).settings
    assert (settings.github_url, settings.labels) == (None, ())


def test_settings_cannot_be_changed(environ):
    """They are the same from start to end of a life."""
    settings = load([], environ).settings
    with pytest.raises(ValueError, match="frozen"):
        settings.name = "other"


# --- mistakes -----------------------------------------------------------------------------------


def test_all_mistakes_are_reported_at_once(environ):
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
    settings = dict(line.split(" ", 1) for line in problems([], environ))
    assert settings == {
        "SIDECAR_TOKEN_PARAMETER": "is missing, and so are SIDECAR_GITHUB_APP_ID and "
        "SIDECAR_GITHUB_PAT (example: SIDECAR_TOKEN_PARAMETER=/actions/tokens/0f3a)",
        "SIDECAR_TOKEN_TIMEOUT": settings["SIDECAR_TOKEN_TIMEOUT"],
        "SIDECAR_GITHUB_URL": "must begin with https://, not 'github.com/o' "
        "(example: SIDECAR_GITHUB_URL=https://github.com/octo-org/octo-repo)",
        "SIDECAR_LOG_FORMAT": "must be 'json', 'console' or 'auto', not 'xml' "
        "(example: SIDECAR_LOG_FORMAT=json)",
        "SIDECAR_STOP_TIMEOUT": "must be greater than or equal to 1, not '0' "
        "(example: SIDECAR_STOP_TIMEOUT=30)",
        "SIDECAR_HEALTH_ADDRESS": settings["SIDECAR_HEALTH_ADDRESS"],
        "SIDECAR_NO_DEFAULT_LABELS": settings["SIDECAR_NO_DEFAULT_LABELS"],
    }
    assert settings["SIDECAR_TOKEN_TIMEOUT"].startswith("must be a valid number")
    assert "reachable from the network" in settings["SIDECAR_HEALTH_ADDRESS"]
    assert settings["SIDECAR_NO_DEFAULT_LABELS"].startswith("must be a valid boolean")


@pytest.mark.parametrize(
    ("given", "contradicted"),
    [
        ({"NAME": "n", "NAME_PREFIX": "p"}, "SIDECAR_NAME_PREFIX contradicts SIDECAR_NAME"),
        (
            {"RELAY_REQUIRED": "on", "RELAY": "OFF"},
            "SIDECAR_RELAY_REQUIRED contradicts SIDECAR_RELAY=off",
        ),
    ],
)
def test_contradictions_are_refused(environ, given, contradicted):
    """The line names both settings and shows a way out."""
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
    settings = problems([], environ)
    assert len(settings) == 2
    assert "TOPSECRET" not in "".join(settings)
    assert "https://***@github.com/o/r" in settings[1]


def test_an_unknown_variable_is_a_warning_with_the_nearest_name(environ):
    """A misspelt setting is reported, and the life goes on."""
    config = load([], environ | {"SIDECAR_LABLES": "a", "SIDECAR_QQQQQQ": "b"})
    assert config.warnings == (
        "SIDECAR_LABLES is not a setting; did you mean SIDECAR_LABELS?",
        "SIDECAR_QQQQQQ is not a setting",
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--nam", "x"], "unrecognized arguments: --nam x"),
        (["--name"], "argument --name: expected one argument"),
    ],
)
def test_a_wrong_option_is_a_settings_error(environ, options, reason):
    """Argparse's own exit code 2 is one of the listener's; abbreviations are refused."""
    (line,) = problems(options, environ)
    assert line == f"{reason}; see runner-sidecar run --help"


def test_help_has_a_line_for_every_setting(environ, capsys):
    """`--help` lists every option with an example and its sentence; secrets are no options."""
    with pytest.raises(SystemExit) as left:
        load(["--help"], environ)
    assert left.value.code == 0
    settings = " ".join(capsys.readouterr().out.split())
    for field, info in Settings.model_fields.items():
        assert (f"{model.option(field)} " in settings) == (field not in model.SECRETS)
        if field in model.SECRETS:
            continue
        assert " ".join(info.description.split()) in settings


# --- the sources of the registration token ------------------------------------------------------

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
def test_each_source_is_enough(environ, given):
    """A credential beside the token deregisters the runner at the end."""
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
        (TOKEN | {"SIDECAR_SESSION_LIMIT": "0"}, {"SIDECAR_SESSION_LIMIT"}),
        (TOKEN | {"SIDECAR_SESSION_LIMIT": "never"}, {"SIDECAR_SESSION_LIMIT"}),
    ],
)
def test_an_incomplete_source_is_refused(environ, given, names):
    """Each mistake names its setting and shows an example, never a secret."""
    del environ["SIDECAR_TOKEN_PARAMETER"]
    settings = problems([], environ | given)
    assert {line.split(" ", 1)[0] for line in settings} == names
    assert all("(example: " in line for line in settings)
    assert "SECRET" not in str(settings)


@pytest.mark.parametrize("field", sorted(model.SECRETS))
def test_a_secret_is_a_variable_only(environ, field):
    """Everybody may read a command line."""
    for words in ([model.option(field), "SECRET"], [f"{model.option(field)}=SECRET"]):
        (line,) = problems(words, environ)
        assert line.startswith(f"{model.variable(field)} is a variable only: ")
        assert "SECRET" not in line


def test_the_instance_is_asked_at_the_address_that_aws_sdks_use(environ):
    """The variable that botocore reads, else the well-known address."""
    assert load([], environ).task.instance_uri == "http://169.254.169.254"
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:9/"
    assert load([], environ).task.instance_uri == "http://127.0.0.1:9"


def test_the_process_ends_with_11_and_a_line_for_each_mistake(tmp_path):
    """Nothing is contacted, and no traceback is shown."""
    ended = subprocess.run(
        [sys.executable, "-m", "sidecar", "run", "--relay", "of"],
        env={
            "SIDECAR_RUNNER_DIR": str(tmp_path),
            "SIDECAR_RUNNER_USER": getpass.getuser(),
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        cwd=Path(model.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (ended.returncode, ended.stdout) == (11, "")
    named = sorted(line.split()[0] for line in ended.stderr.splitlines())
    assert named == ["SIDECAR_RELAY", "SIDECAR_RUNNER_DIR", "SIDECAR_TOKEN_PARAMETER"]


def test_wrong_settings_return_11(capsys):
    """`run.main` turns wrong settings into lines and the exit code, before any event loop."""
    assert run.main(["--nonsense"], {}, Signals()) == 11
    assert capsys.readouterr().err.startswith("unrecognized arguments")


# --- what else is read --------------------------------------------------------------------------


def test_the_runner_gets_every_variable_but_the_agent_s(environ):
    """Proxies, certificates and the tool cache are passed on; no SIDECAR_ variable is."""
    others = {"HTTPS_PROXY": "http://p:1", "RUNNER_TOOL_CACHE": "/c", "PATH": os.defpath}
    config = load([], environ | others | {"SIDECAR_LABELS": "a", "SIDECAR_UNKNOWN": "x"})
    assert config.passed_on == others


def test_the_variables_of_ecs_are_read(environ):
    """An empty one is not set."""
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


def test_without_root_only_the_agent_s_own_user_is_accepted(environ, monkeypatch):
    """The agent cannot change to another one."""
    monkeypatch.setattr(host, "is_root", lambda: False)
    assert load([], environ).user is None
    (line,) = problems([], environ | {"SIDECAR_RUNNER_USER": "somebody-else"})
    assert line.startswith("SIDECAR_RUNNER_USER cannot be 'somebody-else': the agent is not root")
    del environ["SIDECAR_RUNNER_USER"]
    assert load([], environ).user is None


def test_as_root_the_runner_gets_a_user(environ, monkeypatch):
    """By default `runner`; `root` only by name; never one that does not exist."""
    monkeypatch.setattr(host, "is_root", lambda: True)
    assert load([], environ | {"SIDECAR_RUNNER_USER": "root"}).user is None
    assert load([], environ | {"SIDECAR_RUNNER_USER": "nobody"}).user == host.find_user("nobody")
    (line,) = problems([], environ | {"SIDECAR_RUNNER_USER": "no-such-user"})
    assert line.startswith("SIDECAR_RUNNER_USER names no user of this system: 'no-such-user'")
    del environ["SIDECAR_RUNNER_USER"]
    asked = []
    monkeypatch.setattr(host, "find_user", asked.append)
    (line,) = problems([], environ)
    assert (asked, "'runner'" in line) == (["runner"], True)


CDK = {"RUNNER_TOKEN": "AAAAAAAAAA", "REGISTRATION_URL": "https://github.com/octo/repo"}


def test_as_root_a_launcher_s_command_gets_a_user(monkeypatch):
    """`runner`, as in its own image, if there is one; any other command stays root."""
    command = ["--", "true"]
    nobody = host.find_user("nobody")
    monkeypatch.setattr(host, "is_root", lambda: True)
    monkeypatch.setattr(host, "find_user", {"runner": nobody}.get)
    assert load(command, CDK).user == nobody
    assert load(command, CDK | {"SIDECAR_RUNNER_USER": "root"}).user is None
    assert load(command, {}).user is None
    monkeypatch.setattr(host, "find_user", {}.get)
    assert load(command, CDK).user is None


def test_a_proxy_is_passed_on_as_the_agent_reads_it(environ):
    """Its quotes are removed, which is said once and without the password."""
    environ |= {
        "HTTPS_PROXY": "'builder:w0rd@proxy.example:3128'",
        "NO_PROXY": "a",
        "no_proxy": "b",
    }
    config = load([], environ)
    assert config.passed_on["HTTPS_PROXY"] == "http://builder:w0rd@proxy.example:3128"
    assert config.passed_on["NO_PROXY"] == config.passed_on["no_proxy"] == "a,b"
    assert config.warnings == ("HTTPS_PROXY is in quotes: they are no part of its value",)


def test_a_proxy_that_is_none_is_a_mistake(environ):
    """It is known before anything waits for a call that cannot be made."""
    environ["HTTPS_PROXY"] = "http://builder:w0rd@"
    (problem,) = problems([], environ)
    assert problem.startswith("HTTPS_PROXY must be the URL of a proxy")
    assert "w0rd" not in problem


# --- past mistakes --------------------------------------------------------------------------------


def test_what_is_right_can_be_read_beside_mistakes(environ, tmp_path):
    """A default takes the place of what is wrong, and every mistake has its line."""
    environ |= {
        "SIDECAR_RELAY": "nonsense",
        "SIDECAR_STOP_TIMEOUT": "0",
        "SIDECAR_LABELS": "a,b",
        "SIDECAR_RUNNER_DIR": str(tmp_path / "none"),
        "SIDECAR_NAME": "one",
        "SIDECAR_NAME_PREFIX": "two-",
    }
    config, found = read([], environ)
    assert found == list(problems([], environ))
    assert len(found) == 4
    settings = config.settings
    assert (settings.relay, settings.stop_timeout) == ("auto", 30.0)
    assert (settings.labels, settings.name) == (("a", "b"), "one")
    assert settings.runner_dir == tmp_path / "none"


def test_without_a_mistake_it_is_what_a_life_reads(environ):
    """The doctor examines no other settings than those that `run` has."""
    assert read([], environ) == (load([], environ), [])


def test_nothing_at_all_can_be_read():
    """As on a laptop, where no variable is set."""
    config, found = read([], {})
    assert config.settings.token_parameter is None
    assert any("SIDECAR_TOKEN_PARAMETER is missing" in line for line in found)
