"""What each launcher's variables mean; tests/lives/test_launchers.py has whole lives of them."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.settings import contracts
from sidecar.settings.contracts import Contract
from sidecar.settings.model import Settings

ACCESS = {"ACCESS_TOKEN": "ghp_local"}
CDK = {"RUNNER_TOKEN": "AAAAAAAAAA"}
FORMS = {
    "GITHUB_REPOSITORY": "https://github.com/o/r",
    "RUNNER_REPO": "o/r",
    "RUNNER_NAME": "github-runner-spot-abcdefghij",
}
"""Values of the variables that mean something else with another value."""


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
    found = contracts.read_launcher(ACCESS | env)
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
def test_what_myoung34_names_the_runner(env, name):
    """A name, a prefix with something random, or a prefix and the host's name."""
    settings = contracts.read_launcher(
        ACCESS | {"REPO_URL": "https://github.com/o/r"} | env
    ).settings
    assert {key: settings[key] for key in ("name", "name_prefix") if key in settings} == name


@pytest.mark.parametrize(
    ("env", "labels"),
    [({}, "default"), ({"LABELS": "a"}, "a"), ({"LABELS": "a", "RUNNER_LABELS": "b"}, "b")],
)
def test_which_labels_myoung34_sets(env, labels):
    """The newer variable first; `default` where there is none, as its image does."""
    settings = contracts.read_launcher(
        ACCESS | {"REPO_URL": "https://github.com/o/r"} | env
    ).settings
    assert settings["labels"] == labels


def test_myoung34_runs_as_root_only_when_asked():
    """RUN_AS_ROOT=true is taken over; the image's own default is not."""
    url = {"REPO_URL": "https://github.com/o/r"}
    assert "runner_user" not in contracts.read_launcher(ACCESS | url).settings
    settings = contracts.read_launcher(ACCESS | url | {"RUN_AS_ROOT": "true"}).settings
    assert settings["runner_user"] == "root"


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
    assert contracts.read_launcher(CDK | env).settings["github_url"] == url


def test_cdk_s_arguments_of_config_sh_are_read():
    """A group is two variables; no default labels is a flag or nothing."""
    env = {
        "REGISTRATION_URL": "https://github.com/o",
        "RUNNER_GROUP1": "--runnergroup",
        "RUNNER_GROUP2": "two words",
        "DEFAULT_LABELS": "--no-default-labels",
        "RUNNER_LABEL": "a,b",
    }
    settings = contracts.read_launcher(CDK | env).settings
    assert (settings["runner_group"], settings["no_default_labels"]) == ("two words", "true")


def test_the_user_s_name_replaces_the_launcher_s_prefix():
    """The two exclude each other, so the launcher's is dropped; and the reverse."""
    env = ACCESS | {"REPO_URL": "https://github.com/o/r"}
    assert "name_prefix" not in contracts.read_launcher(env, native={"name": "mine"}).settings
    named = env | {"RUNNER_NAME": "theirs"}
    assert "name" not in contracts.read_launcher(named, native={"name_prefix": "mine-"}).settings


def test_one_variable_alone_is_no_launcher():
    """ACCESS_TOKEN may mean anything; only with a URL to register with it is a launcher's."""
    for name in ("ACCESS_TOKEN", "RUNNER_TOKEN", "GITHUB_OWNER", "REPO_URL", "LABELS"):
        assert contracts.read_launcher({name: "x"}) == contracts.NO_LAUNCHER


def test_a_chosen_launcher_is_read():
    """SIDECAR_LAUNCHER decides between two that are both there; native reads none."""
    both = {
        "RUNNER_TOKEN": "AAAAAAAAAA",
        "REPO_URL": "https://github.com/o/r",
        "REGISTRATION_URL": "https://github.com/o/r",
    }
    assert contracts.read_launcher(both).problems
    assert contracts.read_launcher(both, "cdk").contract == "cdk"
    assert contracts.read_launcher(both, "myoung34").contract == "myoung34"
    assert contracts.read_launcher(both, "native") == contracts.NO_LAUNCHER


def test_no_secret_is_shown():
    """A reading may be part of a traceback; the settings in it are not shown."""
    assert "ghp_local" not in repr(
        contracts.read_launcher(ACCESS | {"REPO_URL": "https://github.com/o/r"})
    )


def test_jobs_do_not_get_what_is_read():
    """Every variable that a setting is read from is withheld from jobs."""
    for contract in contracts.CONTRACTS:
        for mark in contract.marks:
            env = dict.fromkeys((*contract.names, *mark), "x") | {
                name: FORMS[name] for name in contract.forms
            }
            found = contracts.read_launcher(env, contract.name)
            assert found.contract == contract.name
            assert set(found.variables.values()) <= found.withheld
            assert set(mark) <= found.withheld


FOLDER = Path(contracts.__file__).parent
NEW = replace(contracts.CDK, name="new")


def contracts_in_files():
    """List the contracts that the files of the folder define."""
    modules = [
        importlib.import_module(f"sidecar.settings.contracts.{path.stem}")
        for path in FOLDER.glob("*.py")
        if path.stem != "__init__"
    ]
    values = [value for module in modules for value in vars(module).values()]
    return {value.name for value in values if isinstance(value, Contract)}


def test_every_contract_is_listed():
    """Whoever writes a contract adds it to CONTRACTS, or this fails."""
    assert contracts_in_files() == {contract.name for contract in contracts.CONTRACTS}


def test_a_contract_that_is_not_listed_is_found(monkeypatch):
    """The test above does see one that is forgotten."""
    monkeypatch.setattr("sidecar.settings.contracts.cdk.NEW", NEW, raising=False)
    assert contracts_in_files() - {contract.name for contract in contracts.CONTRACTS} == {"new"}


def test_the_choices_of_the_setting_are_the_contracts(monkeypatch):
    """A contract that is listed can be chosen, without a second list."""
    for name in ("auto", "native", *(contract.name for contract in contracts.CONTRACTS)):
        assert Settings(launcher=name.upper()).launcher == name
    with pytest.raises(ValueError, match=r"must be 'auto', 'native', 'fargate', .* or 'ec2'"):
        Settings(launcher="new")
    monkeypatch.setattr(contracts, "CONTRACTS", (*contracts.CONTRACTS, NEW))
    assert Settings(launcher="new").launcher == "new"
