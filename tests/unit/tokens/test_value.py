"""A registration token in each form that launchers write."""

import base64
import json

import pytest

from sidecar.errors import TokenError
from sidecar.log import masks
from sidecar.tokens.value import RegistrationToken, hide, parse_token

TOKEN = "AABBCCDD1234567890EXAMPLE"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (TOKEN, RegistrationToken(TOKEN)),
        (f"  {TOKEN}\n", RegistrationToken(TOKEN)),
        (json.dumps({"token": TOKEN}), RegistrationToken(TOKEN)),
        (
            json.dumps({"token": f" {TOKEN} ", "url": "", "name": None, "labels": []}),
            RegistrationToken(TOKEN),
        ),
        (
            json.dumps(
                {
                    "token": TOKEN,
                    "url": "https://github.com/o/r/",
                    "name": "n",
                    "labels": ["a", "b"],
                    "expires_at": "2030-01-01T00:00:00Z",
                }
            ),
            RegistrationToken(TOKEN, url="https://github.com/o/r", name="n", labels=("a", "b")),
        ),
        (
            json.dumps({"token": TOKEN, "group": "big ones", "no_default_labels": True}),
            RegistrationToken(TOKEN, group="big ones", no_default_labels=True),
        ),
        (
            json.dumps({"token": TOKEN, "labels": "a, b"}),
            RegistrationToken(TOKEN, labels=("a", "b")),
        ),
    ],
)
def test_a_token_is_bare_or_json(text, found):
    """JSON may hold URL, name, labels and group too, and what GitHub's own answer holds."""
    assert parse_token(text, "the token parameter /t") == found


def check_refusal(text, why):
    """Check that a value is refused with the reason, and never quoted."""
    with pytest.raises(TokenError) as refused:
        parse_token(text, "the token parameter /t")
    said = str(refused.value)
    assert said.startswith(f"cannot use the token parameter /t: {why}")
    assert "SECRET" not in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its value is empty"),
        (" \n", "its value is empty"),
        ("short", "its value is no registration token, no JSON"),
        ("with blanks in it SECRET", "its value is no registration token, no JSON"),
        ("--unattended-SECRET", "its arguments hold no --token"),
        ("X" * 4097, "its value is no registration token, no JSON"),
        ('["SECRET"]', "its value is no registration token, no JSON"),
        ("{SECRET", "its JSON is malformed: Expecting property name"),
        ('{"token": "SECRET"', "its JSON is malformed: "),
        ('{"a":' + "[" * 100000, "its JSON is malformed: maximum recursion"),
        ("{}", 'its JSON holds no "token"'),
        ('{"token": 1}', 'its JSON holds no "token"'),
        ('{"token": " "}', 'its JSON holds no "token"'),
        ('{"token": "a b SECRET"}', "its value is no registration token, no JSON"),
        (
            f'{{"token": "{TOKEN}", "url": "http://github.com/o"}}',
            'its "url" must begin with https',
        ),
        (f'{{"token": "{TOKEN}", "url": 5}}', 'its "url" '),
        (f'{{"token": "{TOKEN}", "url": ["x"]}}', 'its "url" '),
        (f'{{"token": "{TOKEN}", "name": "-n"}}', 'its "name" must be 1 to 64'),
        (f'{{"token": "{TOKEN}", "name": 5}}', 'its "name" '),
        (f'{{"token": "{TOKEN}", "labels": [1]}}', 'its "labels" must be labels'),
        (f'{{"token": "{TOKEN}", "labels": {{"a": 1}}}}', 'its "labels" must be labels'),
    ],
)
def test_anything_else_is_refused_without_being_quoted(text, why):
    """The error names the parameter and what is wrong with it, never its value."""
    check_refusal(text, why)


def test_the_repr_does_not_show_the_token():
    """So no traceback shows it."""
    assert TOKEN not in repr(parse_token(TOKEN, "/t"))


# --- arguments of config.sh -----------------------------------------------------------------------

AT = "--url https://github.com/o/r"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{AT} --token {TOKEN}", {}),
        (f"  --token={TOKEN} --url=https://github.com/o/r/ \n", {}),
        (f"{AT} --token {TOKEN} --labels a,b --ephemeral", {"labels": ("a", "b")}),
        (f"{AT} --token '{TOKEN}' --labels \"a b,c\"", {"labels": ("a b", "c")}),
        (f"{AT} --token {TOKEN} --runnergroup two words", {"group": "two words"}),
        (f"{AT} --token {TOKEN} --runnergroup 'two words'", {"group": "two words"}),
        (f"{AT} --runnergroup two words --token {TOKEN}", {"group": "two words"}),
        (f"{AT} --token {TOKEN} --name n-1 --work _w", {"name": "n-1", "work_dir": "_w"}),
        (
            f"{AT} --token {TOKEN} --no-default-labels --labels x",
            {"no_default_labels": True, "labels": ("x",)},
        ),
        (f"{AT} --token {TOKEN} --labels  --disableupdate --unattended --replace", {}),
        # Labels are quoted as a shell needs it, a group is not quoted at all.
        (f"{AT} --token {TOKEN} --labels 'x,it'\\''s'", {"labels": ("x", "it's")}),
        (
            f"{AT} --token {TOKEN} --labels 'a b,c --url d' --runnergroup Bob's big ones --replace",
            {"labels": ("a b", "c --url d"), "group": "Bob's big ones"},
        ),
        (f"{AT} --token {TOKEN} --runnergroup  --ephemeral", {}),
    ],
)
def test_arguments_of_config_sh_are_parsed(text, found):
    """As terraform-aws-github-runner writes them: quoted or not; the agent's own are ignored."""
    assert parse_token(text, "/t") == RegistrationToken(
        TOKEN, url="https://github.com/o/r", **found
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{AT} --token", "its arguments hold no --token"),
        (f"{AT} --token 'SECRET", "its arguments are quoted wrongly"),
        (f"{AT} --token a b SECRET", "its value is no registration token"),
        (f"--url http://github.com/o --token {TOKEN}", 'its "url" must begin with https'),
        (f"{AT} --token {TOKEN} --name -SECRET-", 'its "name" must be 1 to 64'),
        (f"{AT} --token {TOKEN} --labels '--url SECRET'", 'its "labels" has a label that begins'),
        (f"{AT} --token {TOKEN} --runnergroup -g", 'its "runnergroup" must be printable'),
    ],
)
def test_wrong_arguments_are_refused_without_being_quoted(text, why):
    """The error names what is wrong with them, never their values."""
    check_refusal(text, why)


# --- just in time ---------------------------------------------------------------------------------


def encoded(content):
    """Encode a configuration as GitHub answers it."""
    return base64.b64encode(json.dumps(content).encode()).decode()


def configuration(settings=None, **files):
    """Make the files of a configuration; each in base64, `.runner` with a BOM."""
    settings = {"AgentId": "7", "AgentName": "jit-7"} if settings is None else settings
    made = {
        ".runner": b"\xef\xbb\xbf" + json.dumps(settings).encode(),
        ".credentials": b"{}",
        ".credentials_rsaparams": b"{}" + b" " * 3000,
    }
    return {name: base64.b64encode(text).decode() for name, text in made.items()} | files


def test_a_just_in_time_configuration_is_parsed():
    """Its files, runner id and name; it is over 4 KB, with PascalCase keys and numbers as text."""
    blob = encoded(configuration())
    assert len(blob) > 4096
    token = parse_token(f"{blob}\n", "/t")
    assert (token.token, token.runner_id, token.name) == (None, 7, "jit-7")
    assert set(token.jit) == {".runner", ".credentials", ".credentials_rsaparams"}
    assert token.jit[".credentials"] == b"{}"
    assert "AgentId" not in repr(token)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (configuration({"AgentName": "x"}), "is broken"),
        (configuration({"AgentId": "seven"}), "is broken"),
        (configuration([]), "is broken"),
        (configuration(**{".credentials": 5}), "is broken"),
        (configuration(**{".credentials": "?"}), "is broken"),
        (configuration(**{".runner": "/////w=="}), "is broken"),
        (
            configuration(**{".runner": base64.b64encode(b"[" * 100000).decode()}),
            "is broken",
        ),
        ({".runner": configuration()[".runner"]}, "is not complete"),
        (configuration(**{"../../etc/passwd": ""}), "is not complete"),
        (configuration(**{".bash/rc": ""}), "is not complete"),
        (
            configuration(**{".credentials": base64.b64encode(b"x" * 65537).decode()}),
            "is not complete",
        ),
    ],
)
def test_a_broken_configuration_is_refused_without_being_quoted(content, why):
    """Its files are written into the runner's folder, so their names and sizes are checked."""
    with pytest.raises(TokenError) as refused:
        parse_token(encoded(content), "the token parameter /t")
    expected = f"cannot use the token parameter /t: its just-in-time configuration {why}"
    assert str(refused.value) == expected


# --- with a policy --------------------------------------------------------------------------------


def test_a_policy_comes_with_a_token_or_with_a_configuration():
    """As it is written; without the key there is none, and every job may run."""
    policy = {"owners": ["acme"], "forks": False}
    assert parse_token(json.dumps({"token": TOKEN, "policy": policy}), "/t").policy == policy
    blob = encoded(configuration())
    token = parse_token(json.dumps({"jit_config": blob, "policy": policy}), "/t")
    assert (token.policy, token.runner_id, token.token) == (policy, 7, None)
    assert parse_token(json.dumps({"jit_config": blob}), "/t") == parse_token(blob, "/t")
    assert parse_token(blob, "/t").policy is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"token": TOKEN, "policy": None}, 'its "policy" must be an object'),
        ({"token": TOKEN, "policy": []}, 'its "policy" must be an object'),
        ({"jit_config": "AAAA"}, 'its "jit_config" is no just-in-time configuration'),
        ({"jit_config": 5}, 'its "jit_config" is no just-in-time configuration'),
        ({"jit_config": "AAAA", "token": TOKEN}, 'its JSON holds both "token" and "jit_config"'),
    ],
)
def test_a_policy_that_cannot_be_read_is_never_taken_for_none(content, why):
    """Nor is half a configuration taken for a token."""
    with pytest.raises(TokenError) as refused:
        parse_token(json.dumps(content), "/t")
    assert str(refused.value) == f"cannot use /t: {why}"


def test_a_configuration_within_json_is_hidden_too(monkeypatch):
    """The log must show neither the whole text nor the part of it that is the secret."""
    monkeypatch.setattr(masks, "_secrets", set())
    blob = encoded(configuration())
    text = json.dumps({"jit_config": blob, "policy": {"forks": True}})
    hide(text, parse_token(text, "/t"))
    assert masks.mask_known_secrets([f"a {blob} b", text]) == ["a *** b", "***"]


@pytest.mark.parametrize("content", [[], {"a": 1}, "text"])
def test_base64_without_a_configuration_may_be_a_token(content):
    """Base64 alone does not make a configuration."""
    assert parse_token(encoded(content).rjust(8, "A"), "/t").jit is None
