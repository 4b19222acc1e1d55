"""What each launcher's variables mean; whole lives of them are in tests/lives/test_launchers.py."""

import pytest

from sidecar.settings import contracts

RIGHT = {"ACCESS_TOKEN": "ghp_local"}
CDK = {"RUNNER_TOKEN": "AAAAAAAAAA"}


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"REPO_URL": "https://github.com/o/r"}, "https://github.com/o/r"),
        ({"ORG_NAME": "o", "RUNNER_SCOPE": "ORG"}, "https://github.com/o"),
        ({"ORG_NAME": "o", "RUNNER_SCOPE": "organization"}, "https://github.com/o"),
        ({"ORG_NAME": "o", "ORG_RUNNER": "true"}, "https://github.com/o"),
        (
            {"ENTERPRISE_NAME": "e", "RUNNER_SCOPE": "enterprise"},
            "https://github.com/enterprises/e",
        ),
        (
            {"ENTERPRISE_NAME": "e", "RUNNER_SCOPE": "ent", "GITHUB_HOST": "https://ghe.local/"},
            "https://ghe.local/enterprises/e",
        ),
        (
            {"ORG_NAME": "o", "RUNNER_SCOPE": "org", "GITHUB_HOST": "octo.ghe.com"},
            "https://octo.ghe.com/o",
        ),
    ],
)
def test_where_myoung34_registers(env, url):
    """The scope in any of its spellings, the host with a scheme or without."""
    found = contracts.read(RIGHT | env)
    assert (found.contract, found.settings["github_url"], found.problems) == ("myoung34", url, ())


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({}, {"name_prefix": "github-runner-"}),
        ({"RUNNER_NAME_PREFIX": "build"}, {"name_prefix": "build-"}),
        ({"RUNNER_NAME": "one", "RUNNER_NAME_PREFIX": "build"}, {"name": "one"}),
        ({"RANDOM_RUNNER_SUFFIX": "false", "HOSTNAME": "ip-10"}, {"name": "github-runner-ip-10"}),
        ({"RANDOM_RUNNER_SUFFIX": "false"}, {"name_prefix": "github-runner-"}),
        ({"RUNNER_NAME_PREFIX": "x" * 80}, {"name_prefix": "x" * 39 + "-"}),
    ],
)
def test_how_myoung34_names(env, name):
    """A name, a prefix with something random, or a prefix and the host's name."""
    said = contracts.read(RIGHT | {"REPO_URL": "https://github.com/o/r"} | env).settings
    assert {key: said[key] for key in ("name", "name_prefix") if key in said} == name


@pytest.mark.parametrize(
    ("env", "labels"),
    [({}, "default"), ({"LABELS": "a"}, "a"), ({"LABELS": "a", "RUNNER_LABELS": "b"}, "b")],
)
def test_how_myoung34_labels(env, labels):
    """The newer variable first; `default` where there is none, as its image does."""
    said = contracts.read(RIGHT | {"REPO_URL": "https://github.com/o/r"} | env).settings
    assert said["labels"] == labels


def test_who_may_run_as_root_is_said_by_a_word():
    """RUN_AS_ROOT=true is what its user wrote; its default there is not taken over."""
    place = {"REPO_URL": "https://github.com/o/r"}
    assert "runner_user" not in contracts.read(RIGHT | place).settings
    said = contracts.read(RIGHT | place | {"RUN_AS_ROOT": "true"}).settings
    assert said["runner_user"] == "root"


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({"REGISTRATION_URL": "https://github.com/o/r", "OWNER": "x"}, "https://github.com/o/r"),
        ({"GITHUB_DOMAIN": "ghe.local", "OWNER": "o", "REPO": "r"}, "https://ghe.local/o/r"),
        ({"GITHUB_DOMAIN": "ghe.local", "OWNER": "o", "REPO": ""}, "https://ghe.local/o"),
    ],
)
def test_where_cdk_registers(env, url):
    """The URL of today's versions, the parts of older ones."""
    assert contracts.read(CDK | env).settings["github_url"] == url


def test_what_cdk_hands_to_config_sh_is_read_back():
    """It passes whole arguments: a group is two of them, the other is a flag or nothing."""
    env = {
        "REGISTRATION_URL": "https://github.com/o",
        "RUNNER_GROUP1": "--runnergroup",
        "RUNNER_GROUP2": "two words",
        "DEFAULT_LABELS": "--no-default-labels",
        "RUNNER_LABEL": "a,b",
    }
    said = contracts.read(CDK | env).settings
    assert (said["runner_group"], said["no_default_labels"]) == ("two words", "true")


def test_a_name_of_one_s_own_takes_the_prefix_s_place():
    """The two exclude each other, so the launcher's word for the other is dropped."""
    env = RIGHT | {"REPO_URL": "https://github.com/o/r"}
    assert "name_prefix" not in contracts.read(env, native={"name": "mine"}).settings
    named = env | {"RUNNER_NAME": "theirs"}
    assert "name" not in contracts.read(named, native={"name_prefix": "mine-"}).settings


def test_one_variable_alone_is_nobody_s():
    """ACCESS_TOKEN may be anything; only with a place to register is it a launcher's."""
    for name in ("ACCESS_TOKEN", "RUNNER_TOKEN", "GITHUB_OWNER", "REPO_URL", "LABELS"):
        assert contracts.read({name: "x"}) == contracts.NOBODY


def test_a_named_launcher_is_not_looked_for():
    """SIDECAR_LAUNCHER decides between two that are both there; native is neither."""
    both = {
        "RUNNER_TOKEN": "AAAAAAAAAA",
        "REPO_URL": "https://github.com/o/r",
        "REGISTRATION_URL": "https://github.com/o/r",
    }
    assert contracts.read(both).problems
    assert contracts.read(both, "cdk").contract == "cdk"
    assert contracts.read(both, "myoung34").contract == "myoung34"
    assert contracts.read(both, "native") == contracts.NOBODY


def test_no_secret_is_shown():
    """A reading may stand in a traceback or a log; what it read is not among what is shown."""
    assert "ghp_local" not in repr(contracts.read(RIGHT | {"REPO_URL": "https://github.com/o/r"}))


def test_whatever_is_read_is_kept_from_jobs():
    """Every variable that a setting comes from is among those that jobs never see."""
    for contract in contracts.CONTRACTS:
        for mark in contract.marks:
            env = dict.fromkeys(contract.names, "x") | dict.fromkeys(mark, "x")
            found = contracts.read(dict.fromkeys(env, "x"), contract.name)
            assert set(found.variables.values()) <= found.withheld
            assert set(mark) <= found.withheld
