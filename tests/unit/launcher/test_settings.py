"""The launcher's settings: all mistakes at once, each with an example."""

import pytest

from launcher.errors import SettingsError
from launcher.settings import (
    MODELS,
    SECRETS,
    ServeSettings,
    WebhookSettings,
    WorkSettings,
    load,
)

LEAST = {
    "LAUNCHER_GITHUB_URL": "https://github.com/octo/repo/",
    "LAUNCHER_GITHUB_PAT": "ghp_secret_value",
    "LAUNCHER_CLUSTER": "runners",
    "LAUNCHER_TASK_DEFINITION": "runner:7",
}

MACHINE = {"cluster": None, "task_definition": None, "launch_template": "lt-0123456789"}
"""The settings that make an order of machines of it."""


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
        "LAUNCHER_PARAMETER_PREFIX",
        "LAUNCHER_NAME_PREFIX",
        "LAUNCHER_LAUNCH_TYPE",
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
        ({"deployment": "a b"}, "LAUNCHER_DEPLOYMENT must be 1 to 64 letters"),
        ({"cluster": "a b"}, "LAUNCHER_CLUSTER must be a name or an ARN, not 'a b'"),
        ({"task_definition": None}, "is missing; for machines set LAUNCHER_LAUNCH_TEMPLATE"),
        ({"user_data": "x.sh"}, "LAUNCHER_USER_DATA is for machines: it needs LAUNCHER_LAUNCH"),
        (
            {"task_definition": None, "launch_template": "runner"},
            "LAUNCHER_CLUSTER contradicts LAUNCHER_LAUNCH_TEMPLATE",
        ),
        ({**MACHINE, "capacity_providers": "spot,FARGATE"}, "must be spot or on-demand"),
        ({**MACHINE, "launch_template": "a b"}, "must be the id or the name of a launch template"),
        ({**MACHINE, "launch_template_version": "new"}, "must be a number, $Default or $Latest"),
        ({**MACHINE, "image": "ubuntu"}, "LAUNCHER_IMAGE must be the id of an image"),
        ({**MACHINE, "instance_name": "a<b"}, "LAUNCHER_INSTANCE_NAME must be 1 to 256 letters"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes, words):
    """The line says which one to change."""
    (line,) = problems(**changes)
    assert words in line


@pytest.mark.parametrize("just_in_time", ["true", "false"])
def test_a_runner_group_may_have_a_name(just_in_time):
    """Just in time its number is looked up."""
    environ = {**LEAST, "LAUNCHER_JUST_IN_TIME": just_in_time, "LAUNCHER_RUNNER_GROUP": "big ones"}
    assert load({}, environ)[0].runner_group == "big ones"


def test_an_unknown_variable_is_a_warning_with_the_nearest_name():
    """It may belong to a newer launcher."""
    _, warnings = load({}, {**LEAST, "LAUNCHER_CLUSTR": "x", "OTHER": "y"})
    assert warnings == ["LAUNCHER_CLUSTR is not a setting; did you mean LAUNCHER_CLUSTER?"]


# ---- the services --------------------------------------------------------------------------------

SERVICE = {
    "LAUNCHER_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/demand",
    "LAUNCHER_WEBHOOK_SECRETS": "ssm:/one,canary-canary",
    "LAUNCHER_TABLE": "launches",
    "LAUNCHER_POOLS": "ssm:/pools/1+/pools/2",
    "LAUNCHER_GITHUB_PAT": "canary-canary",
}


def wrong_of(model, **changes):
    """Return what is wrong with a service's environment and these changes."""
    environ = {**SERVICE, **{f"LAUNCHER_{key.upper()}": value for key, value in changes.items()}}
    with pytest.raises(SettingsError) as wrong:
        load({}, {key: value for key, value in environ.items() if value is not None}, model)
    return wrong.value.problems


def test_a_service_needs_few_settings():
    """The others have defaults; a secret is in no representation; a start's are not needed."""
    settings, warnings = load({}, SERVICE, ServeSettings)
    assert (settings.github_url, settings.scope) == ("https://github.com", "repository")
    assert (settings.allow, settings.listen, settings.webhook_path) == ((), ":8080", "/webhook")
    assert "canary" not in repr(settings)
    assert warnings == []
    assert load({}, SERVICE, WebhookSettings)[0].queue_url == SERVICE["LAUNCHER_QUEUE_URL"]


def test_all_mistakes_of_a_service_are_reported_at_once():
    """One line for each; the webhook alone needs neither table nor credential."""
    found = wrong_of(
        ServeSettings, queue_url=None, table=None, pools=None, webhook_secrets=None, github_pat=None
    )
    assert sorted(line.split()[0] for line in found) == [
        "LAUNCHER_GITHUB_APP_ID",
        "LAUNCHER_POOLS",
        "LAUNCHER_QUEUE_URL",
        "LAUNCHER_TABLE",
        "LAUNCHER_WEBHOOK_SECRETS",
    ]
    alone = {"queue_url": None, "table": None, "github_pat": None}
    assert [line.split()[0] for line in wrong_of(WebhookSettings, **alone)] == [
        "LAUNCHER_QUEUE_URL"
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"queue_url": "demand"}, "LAUNCHER_QUEUE_URL must be the URL of an SQS queue"),
        ({"queue_url": "https://sqs/1/demand.fifo"}, "must be a standard queue"),
        ({"pools": "ssm:"}, "LAUNCHER_POOLS must be ssm: and the name of a parameter"),
        ({"pools": "families:"}, "LAUNCHER_POOLS must be families: and how the families"),
        ({"scope": "enterprise"}, "LAUNCHER_SCOPE must be repository or organization"),
        ({"scope": "enterprise:a/b"}, "LAUNCHER_SCOPE must be repository or organization"),
        ({"allow": "octo/a/b"}, "LAUNCHER_ALLOW must be owners, or repositories"),
        ({"listen": "8080"}, "LAUNCHER_LISTEN must be host:port"),
        ({"listen": "a:70000"}, "LAUNCHER_LISTEN must be host:port"),
        ({"webhook_path": "webhook"}, "LAUNCHER_WEBHOOK_PATH must be the path of a URL"),
        ({"github_url": "http://github.com"}, "LAUNCHER_GITHUB_URL must begin with https://"),
        ({"messages": "0"}, "LAUNCHER_MESSAGES must be greater than or equal to 1"),
        ({"stop_timeout": "-1"}, "LAUNCHER_STOP_TIMEOUT must be greater than 0"),
    ],
)
def test_each_mistake_of_a_service_is_explained(changes, words):
    """The line says what the value must be."""
    (line,) = wrong_of(ServeSettings, **changes)
    assert words in line


APPS = {"LAUNCHER_GITHUB_APP_ID": "1, 2", "LAUNCHER_GITHUB_APP_KEY": "file:/a, ssm:/b"}


def without_pat(**more):
    """Return a service's environment without a token of its own."""
    return {key: SERVICE[key] for key in SERVICE if not key.endswith("_PAT")} | more


def test_a_worker_may_have_several_apps_with_a_key_each():
    """A single key is taken as it is: its path may hold a comma."""
    settings, _ = load({}, without_pat(**APPS), WorkSettings)
    assert settings.apps == [("1", "file:/a"), ("2", "ssm:/b")]
    one = {"LAUNCHER_GITHUB_APP_ID": "1", "LAUNCHER_GITHUB_APP_KEY": "file:/a,b"}
    assert load({}, without_pat(**one), WorkSettings)[0].apps == [("1", "file:/a,b")]


def test_each_app_needs_its_key():
    """And a start has one App: it serves one scope."""
    with pytest.raises(SettingsError, match="names 2 Apps, and LAUNCHER_GITHUB_APP_KEY 1 keys"):
        load({}, without_pat(**APPS | {"LAUNCHER_GITHUB_APP_KEY": "ssm:/b"}), WorkSettings)
    with pytest.raises(SettingsError, match="must be one App; work and serve take several"):
        load({}, without_pat(**APPS))


@pytest.mark.parametrize("url", ["https://octo.ghe.com/", "https://ghes.example/octo"])
def test_a_worker_s_github_may_be_a_server_or_a_scope(url):
    """Without a last slash."""
    settings, _ = load({}, {**SERVICE, "LAUNCHER_GITHUB_URL": url}, WorkSettings)
    assert settings.github_url == url.rstrip("/")


def test_no_secret_is_an_option_of_any_command():
    """Everybody may read a command line."""
    fields = {
        field: info for model in MODELS.values() for field, info in model.model_fields.items()
    }
    hidden = {field for field, info in fields.items() if "SecretStr" in str(info.annotation)}
    assert hidden == set(SECRETS)
