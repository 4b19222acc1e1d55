"""The fields beside a token: the same in each form, GitHub's own answers, and no unknown one."""

import base64
import json

import pytest

from sidecar.errors import TokenError
from sidecar.log import masks
from sidecar.tokens import token_fields, value
from sidecar.tokens.value import RegistrationToken, hide, parse_token

TOKEN = "AABBCCDD1234567890EXAMPLE"
URL = "https://github.com/o/r"


def encode(content):
    """Encode as GitHub does."""
    return base64.b64encode(content).decode()


def make_blob():
    """Make a just-in-time configuration as GitHub answers it."""
    files = {
        ".runner": json.dumps({"AgentId": "7", "AgentName": "jit-7"}).encode(),
        ".credentials": b"{}",
        ".credentials_rsaparams": b"{}",
    }
    content = {name: encode(text) for name, text in files.items()}
    return encode(json.dumps(content).encode())


def parse(content):
    """Parse JSON as the token parameter holds it."""
    return parse_token(json.dumps(content), "the token parameter /t")


def refusal(content):
    """Return why JSON, or arguments, are refused."""
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(TokenError) as refused:
        parse_token(text, "the token parameter /t")
    assert TOKEN not in str(refused.value)
    return str(refused.value).removeprefix("cannot use the token parameter /t: ")


@pytest.mark.parametrize("name", ["group", "runner_group", "runnergroup"])
def test_a_runner_group_is_read_by_each_of_its_names(name, monkeypatch):
    """A group that is dropped puts the runner where other repositories may use it.

    Without the mend, only one of the names was read.
    """
    assert parse({"token": TOKEN, name: "production"}).group == "production"
    assert parse_token(f"--token {TOKEN} --{name} big ones", "/t").group == "big ones"
    monkeypatch.setitem(token_fields.FIELDS, "group", ("group",))
    if name != "group":
        assert f'"{name}" is not known there' in refusal({"token": TOKEN, name: "production"})


def test_json_and_arguments_read_the_same_fields():
    """The work folder and the switch too, under the names of either."""
    found = RegistrationToken(
        TOKEN,
        url=URL,
        name="n",
        labels=("a", "b"),
        group="g",
        work_dir="_w",
        no_default_labels=True,
    )
    of_json = {
        "token": TOKEN,
        "url": URL,
        "name": "n",
        "labels": ["a", "b"],
        "group": "g",
        "work_dir": "_w",
        "no_default_labels": True,
    }
    of_settings = {
        "token": TOKEN,
        "github_url": URL,
        "name": "n",
        "labels": "a,b",
        "runner_group": "g",
        "work": "_w",
        "no_default_labels": "true",
    }
    arguments = (
        f"--url {URL} --token {TOKEN} --name n --labels a,b --runnergroup g --work _w "
        "--no-default-labels --unattended --ephemeral --replace --disableupdate"
    )
    assert parse(of_json) == parse(of_settings) == parse_token(arguments, "/t") == found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"runner-group": "g"}, '"runner-group" is not known there (known: token, '),
        ({"grup": "g"}, '"grup" is not known there (known: token, '),
        ({"Group": "g"}, '"Group" is not known there (known: token, '),
        ({TOKEN: "g"}, "one key is not known there (known: token, "),
        ({"group": "a", "runner_group": "b"}, 'its "runner_group" contradicts its "group"'),
        ({"group": 7}, 'its "group" must be text'),
        ({"work_dir": ["a"]}, 'its "work_dir" must be text'),
        ({"no_default_labels": "yes"}, 'its "no_default_labels" must be true or false'),
        ({"no_default_labels": 1}, 'its "no_default_labels" must be true or false'),
        ({"keep": "no"}, 'its "keep" must be true or false'),
    ],
)
def test_what_nobody_would_read_is_refused_by_name(content, said):
    """Nothing that was meant is dropped; a key that may be a secret is not shown."""
    assert refusal({"token": TOKEN, **content}).startswith(said)


def test_two_names_that_say_the_same_are_one():
    """A group that is given under both of its names is read once."""
    assert parse({"token": TOKEN, "group": "a", "runner_group": "a"}).group == "a"


@pytest.mark.parametrize("flag", ["runner-grup x", "pat ghp_x", "x"])
def test_an_unknown_flag_is_refused_by_name(flag):
    """As a JSON key is."""
    name = flag.partition(" ")[0].replace("-", "_")
    said = refusal(f"--token {TOKEN} --{flag}")
    assert said.startswith(f'"{name}" is not known there')
    assert "ghp_x" not in said


def test_github_s_own_answers_are_accepted():
    """As its REST API gives them, whole: of a token, and of a just-in-time configuration."""
    answer = {"token": TOKEN, "expires_at": "2030-01-01T00:00:00Z"}
    assert parse(answer) == RegistrationToken(TOKEN)
    blob = make_blob()
    runner = {"id": 7, "name": "jit-7", "os": "unknown", "status": "offline", "busy": False}
    found = parse({"runner": runner, "encoded_jit_config": blob})
    assert found == parse({"jit_config": blob}) == parse_token(blob, "/t")
    assert (found.runner_id, found.name, found.token) == (7, "jit-7", None)
    assert parse_token(f"--jitconfig {blob}", "/t") == found
    assert parse({"encoded_jit_config": blob, "url": URL}).url == URL


@pytest.mark.parametrize("write", ["{}", "--jitconfig {}", '{{"encoded_jit_config": "{}"}}'])
def test_github_s_own_configuration_is_hidden_from_the_log(write, monkeypatch):
    """It holds the runner's key, whatever its name is there."""
    monkeypatch.setattr(masks, "_secrets", set())
    blob = make_blob()
    text = write.format(blob)
    hide(text, parse_token(text, "/t"))
    assert masks.mask_known_secrets(blob) == "***"


@pytest.mark.parametrize(
    "more",
    [
        {"group": "g"},
        {"labels": ["a"]},
        {"work_dir": "w"},
        {"no_default_labels": True},
        {"name": "other"},
    ],
)
def test_what_a_just_in_time_configuration_fixes_is_not_taken_beside_it(more):
    """The runner is registered already: another group or label would be dropped."""
    (name,) = more
    said = refusal({"jit_config": make_blob(), **more})
    assert said == f'its "{name}" contradicts its just-in-time configuration, which has one'


def test_the_mend_is_what_refuses_an_unknown_key(monkeypatch):
    """The switch of this file: without the check of names, what nobody reads is dropped."""
    known = token_fields.read_fields
    monkeypatch.setattr(
        value,
        "read_fields",
        lambda given, ignored, where: known(given, ignored | set(given) - {"token"}, where),
    )
    assert parse({"token": TOKEN, "runner_group": "production"}).group is None
