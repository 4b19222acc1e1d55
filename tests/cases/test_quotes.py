"""Quotes that a file of variables keeps, and lists in JSON, in every setting and every launcher."""

import getpass
import json

import pytest
from structlog.testing import capture_logs

from launcher.action import inputs
from launcher.demand.function import Function
from launcher.errors import SettingsError as LauncherSettingsError
from launcher.settings import ServeSettings
from launcher.settings import load as load_launcher
from sidecar import host, values
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.errors import Exit, SettingsError
from sidecar.log import masks
from sidecar.settings.load import load
from sidecar.tokens.value import hide, parse_token
from tests.support.loops import run
from tests.unit.settings.test_more_contracts import EXAMPLES

TOKEN = "AABBCCDD1234567890EXAMPLE"
POLICY = {"Statement": []}
LABELS = {
    "fargate": "LABELS",
    "passeidireto": "RUNNER_LABELS",
    "myoung34": "RUNNER_LABELS",
    "cdk": "RUNNER_LABEL",
    "fleet": "RUNNER_LABELS",
    "pagopa": "LABELS",
    "cmcs": "RUNNER_LABELS",
}
"""The variable of each launcher's labels, where it has one."""
LAUNCHER = {
    "LAUNCHER_GITHUB_URL": "https://github.com/octo/repo",
    "LAUNCHER_GITHUB_PAT": "ghp_secret_value",
    "LAUNCHER_CLUSTER": "runners",
    "LAUNCHER_TASK_DEFINITION": "runner:7",
}


@pytest.fixture
def installed(tmp_path):
    """Give what every agent has: a runner's folder and a user."""
    (tmp_path / "bin").mkdir()
    (tmp_path / host.LISTENER).touch()
    return {"SIDECAR_RUNNER_DIR": str(tmp_path), "SIDECAR_RUNNER_USER": getpass.getuser()}


@pytest.fixture
def native(installed):
    """Give the least that the agent's own settings are."""
    return {**installed, "SIDECAR_TOKEN_PARAMETER": "/t"}


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ('"ecs,large"', "ecs,large"),
        ("'ecs'", "ecs"),
        (" ' ecs ' ", "ecs"),
        ('"it\'s"', "it's"),
        ("'{\"a\": 1}'", '{"a": 1}'),
        ('"{\\"a\\": 1}"', '{"a": 1}'),
        ('"a\\nb"', "a\\nb"),
        ('""', ""),
        ("ecs", "ecs"),
        ('"a","b"', '"a","b"'),
        ('"', '"'),
        ("\"ecs'", "\"ecs'"),
    ],
)
def test_one_pair_of_quotes_is_removed(given, plain):
    """Only a pair around all of the value; what is within stays as it is."""
    assert values.strip_quotes(given) == plain


def test_quotes_around_settings_are_left_out_and_said_once_each(native, monkeypatch):
    """As `docker run --env-file` keeps them. Without the mend the runner has the label `"ecs`."""
    environ = native | {
        "SIDECAR_LABELS": '"ecs,large"',
        "SIDECAR_RUNNER_GROUP": "'two words'",
        "SIDECAR_WORK_DIR": '"_work"',
        "SIDECAR_NO_DEFAULT_LABELS": '"true"',
        "SIDECAR_JOB_POLICY": f"'{json.dumps(POLICY)}'",
        "SIDECAR_RELAY": '""',
        "AWS_REGION": '"eu-west-1"',
    }
    config = load(["--name-prefix", "'n-'"], environ)
    settings = config.settings
    assert (settings.labels, settings.runner_group) == (("ecs", "large"), "two words")
    assert (settings.work_dir, settings.no_default_labels) == ("_work", True)
    assert (settings.relay, settings.name_prefix) == ("auto", "n-")
    assert json.loads(settings.job_policy) == POLICY
    assert config.task.region == "eu-west-1"
    said = sorted(line.split()[0].removeprefix("SIDECAR_") for line in config.warnings)
    own = ["JOB_POLICY", "LABELS", "NAME_PREFIX", "NO_DEFAULT_LABELS", "RELAY"]
    assert said == [*own, "RUNNER_GROUP", "WORK_DIR"]
    monkeypatch.setattr(values, "strip_quotes", str.strip)
    with pytest.raises(SettingsError, match="quotation mark"):
        load([], native | {"SIDECAR_LABELS": '"ecs,large"'})


@pytest.mark.parametrize("quoted", ['"ghp_x"', "'ghp_x'"])
def test_a_quoted_secret_is_the_secret(installed, quoted):
    """No message shows it."""
    environ = installed | {"SIDECAR_GITHUB_PAT": quoted, "SIDECAR_GITHUB_URL": "https://x.io/o"}
    config = load([], environ)
    assert config.settings.github_pat.get_secret_value() == "ghp_x"
    assert config.warnings == ("SIDECAR_GITHUB_PAT is in quotes: they are no part of its value",)


@pytest.mark.parametrize("given", ['["ecs", "large"]', '\'["ecs","large"]\'', '"ecs,large"'])
def test_labels_may_be_a_list_in_json(native, given):
    """Of the agent, in quotes or not."""
    assert load([], native | {"SIDECAR_LABELS": given}).settings.labels == ("ecs", "large")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIDECAR_LABELS", '"ecs,large'),
        ("SIDECAR_LABELS", 'ecs,"large"'),
        ("SIDECAR_LABELS", '"ecs","large"'),
        ("SIDECAR_LABELS", "ecs,large'"),
        ("SIDECAR_LABELS", "[ecs, large]"),
        ("SIDECAR_LABELS", "['ecs']"),
        ("SIDECAR_LABELS", '["ecs"'),
        ("SIDECAR_LABELS", '["ecs", 1]'),
        ("SIDECAR_LABELS", "\u201cecs\u201d"),
        ("SIDECAR_RUNNER_GROUP", '"big'),
        ("SIDECAR_RUNNER_GROUP", 'big"'),
        ("SIDECAR_WORK_DIR", "'_work"),
        ("SIDECAR_TOKEN", '"AABBCCDDEE'),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(native, name, value):
    """Exit 11, before anything is contacted; a secret is not shown."""
    environ = native | {name: value}
    if name == "SIDECAR_TOKEN":
        del environ["SIDECAR_TOKEN_PARAMETER"]
    with pytest.raises(SettingsError) as refused:
        load([], environ)
    assert all(line.startswith(f"{name} ") for line in refused.value.problems)
    assert "AABB" not in str(refused.value)
    assert refused.value.exit is Exit.SETTINGS


@pytest.mark.parametrize("value", ["Bob's big ones", "the users'", 'a "b" c'])
def test_quotes_within_a_group_s_name_are_its_own(native, value):
    """A name may have an apostrophe."""
    assert load([], native | {"SIDECAR_RUNNER_GROUP": value}).settings.runner_group == value


@pytest.mark.parametrize("name", sorted(LABELS))
@pytest.mark.parametrize("given", ['"one,two"', "'one,two'", '["one", "two"]', "one,two"])
def test_every_launcher_s_labels_are_read_so(installed, name, given):
    """The runner has the labels that were meant, whichever launcher sets them, and how."""
    config = load([], {**installed, **EXAMPLES[name], LABELS[name]: given})
    assert config.launcher.contract == name
    assert config.settings.labels[-2:] == ("one", "two")
    told = [f"{LABELS[name]} is in quotes: they are no part of its value"]
    assert list(config.warnings) == (told if given[0] in "\"'" else [])


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - {"terraform", "ec2"}))
def test_every_launcher_is_recognised_in_quotes(installed, name):
    """Each value in quotes means the same as without."""
    quoted = {key: f'"{value}"' for key, value in EXAMPLES[name].items()}
    plain, found = (load([], {**installed, **each}) for each in (EXAMPLES[name], quoted))
    assert found.launcher.contract == name
    assert found.settings == plain.settings
    assert len(found.warnings) == len(quoted)


def test_a_launcher_s_labels_that_cannot_be_meant_name_its_variable(installed):
    """The variable that the user knows, with the agent's as an example."""
    environ = {**installed, **EXAMPLES["cmcs"], "RUNNER_LABELS": "[one, two]"}
    with pytest.raises(SettingsError, match=r"^RUNNER_LABELS begins with"):
        load([], environ)


# --- secrets and tokens where they are stored ---------------------------------------------------


def test_a_secret_that_is_stored_in_quotes_is_the_secret(tmp_path):
    """A file, or SSM, may hold the quotes of the line that it came from; it is said."""
    (tmp_path / "pat").write_text('"ghp_x"\n')
    with capture_logs() as events:
        reading = read_secret(f"file:{tmp_path}/pat", "SIDECAR_GITHUB_PAT", SecretReader(None))
        assert run("asyncio", reading) == "ghp_x"
    assert events == [
        {
            "event": "credential.unquoted",
            "log_level": "warning",
            "setting": "SIDECAR_GITHUB_PAT",
        }
    ]


@pytest.mark.parametrize(
    "text", [f'"{TOKEN}"', json.dumps(json.dumps({"token": TOKEN})), f"'--token {TOKEN}'"]
)
def test_a_token_that_is_stored_in_quotes_is_the_token(text, monkeypatch):
    """JSON within JSON, too. It is said once, and both forms are hidden from the log."""
    monkeypatch.setattr(masks, "_secrets", set())
    with capture_logs() as events:
        token = parse_token(text, "/t")
    hide(text, token)
    assert token.token == TOKEN
    assert [event["event"] for event in events] == ["token.unquoted"]
    assert masks.mask_known_secrets([text, TOKEN]) == ["***", "***"]


# --- the launcher -------------------------------------------------------------------------------


def test_the_launcher_s_settings_are_read_so():
    """Quotes are left out and said; a list may be JSON; what cannot be meant is refused by name."""
    more = {
        "LAUNCHER_CLUSTER": '"runners"',
        "LAUNCHER_SUBNETS": '["subnet-a", "subnet-b"]',
        "LAUNCHER_SECURITY_GROUPS": "'sg-1'",
    }
    settings, warnings = load_launcher({}, LAUNCHER | more)
    assert (settings.cluster, settings.security_groups) == ("runners", ("sg-1",))
    assert settings.subnets == ("subnet-a", "subnet-b")
    assert [line.split()[0] for line in warnings] == [
        "LAUNCHER_CLUSTER",
        "LAUNCHER_SECURITY_GROUPS",
    ]
    for name, value in [("GITHUB_PAT", '"ghp_secret'), ("SUBNETS", "[subnet-a]")]:
        with pytest.raises(LauncherSettingsError) as refused:
            load_launcher({}, {**LAUNCHER, f"LAUNCHER_{name}": value})
        assert f"LAUNCHER_{name} begins" in refused.value.problems[0]
        assert "ghp_secret" not in str(refused.value)


def test_the_webhook_reads_the_same_in_a_service_and_in_a_function():
    """Its function has no library to read settings with."""
    environ = {
        "LAUNCHER_QUEUE_URL": "'http://127.0.0.1:9/1/demand'",
        "LAUNCHER_WEBHOOK_SECRETS": '"one,two"',
        "LAUNCHER_ALLOW": '"octo"',
    }
    function = Function(environ)
    assert function._url == "http://127.0.0.1:9/1/demand"
    assert (function._references, function._allowed) == (["one", "two"], ["octo"])
    more = {"LAUNCHER_GITHUB_PAT": "x", "LAUNCHER_TABLE": "t", "LAUNCHER_POOLS": "pools.toml"}
    settings, _ = load_launcher({}, environ | more, ServeSettings)
    assert settings.webhook_secrets.get_secret_value() == "one,two"
    assert (settings.queue_url, settings.allow) == ("http://127.0.0.1:9/1/demand", ("octo",))


@pytest.mark.parametrize("given", ['["a", "b"]', "a,b", '"a,b"'])
def test_an_action_s_labels_are_read_so(given):
    """A workflow may give the list that `runs-on` takes."""
    reading = inputs._Reading({"ACTION_INPUTS": json.dumps({"labels": given})})
    assert reading.labels() == ("a", "b")
    assert reading.problems == []
