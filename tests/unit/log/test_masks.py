"""Secrets are masked, known ones and likely ones; what a reader needs is not."""

import random
import re
import string

import pytest

from sidecar.log import masks
from sidecar.log.masks import mask_likely_secrets

LETTERS = string.ascii_letters + string.digits
BASE64 = LETTERS + "+/"
RANDOM = random.Random(2026)  # noqa: S311  test data


def generate(alphabet, length):
    """Generate a secret: with letters of both cases and a digit, always the same ones."""
    return "aZ9" + "".join(RANDOM.choices(alphabet, k=length - 3))


SECRETS = {
    "pat": "ghp_" + generate(LETTERS, 36),
    "fine-grained": "github_pat_" + generate(LETTERS + "_", 82),
    "installation": "ghs_" + generate(LETTERS, 36),
    "registration": "A" + "".join(RANDOM.choices(string.ascii_uppercase, k=28)),
    "jwt": f"eyJ{generate(LETTERS, 30)}.{generate(LETTERS, 60)}.{generate(LETTERS + '-_', 40)}",
    "access-key": "ASIA" + "".join(RANDOM.choices(string.ascii_uppercase, k=16)),
    "secret-key": generate(LETTERS, 20) + "/" + generate(LETTERS, 19),
    "session-token": generate(BASE64, 400) + "==",
    "jit": generate(LETTERS, 4000),
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("line", ["{}", "got {} from there", 'x: "{}", y', "(--token={})", "a,{}"])
def test_likely_secrets_are_masked(kind, line):
    """No known kind of secret is shown, wherever in a line it is."""
    secret = SECRETS[kind]
    shown = mask_likely_secrets(line.format(secret))
    assert secret not in shown
    assert secret[8:20] not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Authorization: Bearer abcdefgh12", "Authorization: ***"),
        ("using bearer abcdefgh12.x", "using bearer ***"),
        ("https://user:pass@proxy:3128/x", "https://***@proxy:3128/x"),
        ("?sv=2020&sig=abcdefgh%3D&se=1", "?sv=2020&sig=***&se=1"),
        ('"AccessToken": "abcdefghi"', '"AccessToken": "***"'),
        ("password=12345678 next", "password=*** next"),
        ("-----BEGIN RSA PRIVATE KEY-----MIIE", "***"),
    ],
)
def test_secrets_with_a_name_are_masked(line, shown):
    """A short secret is recognised by the word before it."""
    masked_line = mask_likely_secrets(line)
    assert "abcdefgh" not in masked_line
    assert "12345678" not in masked_line
    assert masked_line == shown or (line.startswith("Auth") and masked_line.endswith("***"))


@pytest.mark.parametrize(
    "line",
    [
        "[2026-01-22 12:13:35Z ERR  Listener] System.Net.Http.HttpRequestException: refused",
        "   at GitHub.Runner.Listener.Runner.RunAsync(RunnerSettings settings, Boolean runOnce)",
        "/home/runner/actions-runner/externals/node24/bin/Node_modules_of_1_package/index",
        "/home/runner/_work/_actions/actions/checkout/2cef10bd41a8f7d2ab1d7d2f0f4f1c9c/dist/Index1",
        "RUNNER_TOOL_CACHE=/opt/hostedtoolcache/Python/3/x64/bin/python3",
        "/home/runner/actions-runner/_diag/Runner_20260122-121335-utc.log",
        "/__w/_temp/_runner_file_commands/add_path_11d2a0de-5a0b-4e7f-8a3b-2f0b1c3d4e5f/X",
        "commit 2cef10bd41a8f7d2ab1d7d2f0f4f1c9c0a3b5e6f and 11d2a0de-5a0b-4e7f-8a3b-2f0b1c3d4e5f",
        "Listener exit with 1, ***redacted*** already",
        "================================================================================",
    ],
)
def test_what_a_reader_needs_stays(line):
    """Times, traces, paths, checksums and ids are shown."""
    assert mask_likely_secrets(line) == line


def one_word_makes_a_path(run):
    """Decide as the agent once did: one part of three lower-case letters made a path of all."""
    return any(re.fullmatch(r"_?[A-Za-z][a-z_-]{2,}", part) for part in run.split("/")[:-1])


@pytest.mark.parametrize("length", [40, 100, 400])
def test_a_random_secret_is_never_taken_for_a_path(length):
    """Base64 has slashes, and between them words by chance; thousands of secrets show none."""
    generated = [generate(BASE64, length) for _ in range(400_000 // length)]
    shown = [secret for secret in generated if mask_likely_secrets(secret) == secret]
    assert shown == []
    if length == 400:  # a session token: one of about twenty was shown
        assert sum(map(one_word_makes_a_path, generated)) > len(generated) // 100


def test_a_secret_within_a_path_is_masked():
    """However long and readable the path is."""
    secret = generate(LETTERS, 40)
    path = "/home/runner/actions-runner/externals/packages" * 5
    assert secret not in mask_likely_secrets(f"{path}/{secret}")


def test_a_long_line_is_masked_in_time():
    """Text from outside cannot keep the agent busy: 32 KiB of anything take no time."""
    for unit in (
        "a",
        "eyJ",
        "A1b",
        "token=",
        "://",
        "a/b",
        "=",
        "\"'",
        "-",
        "Aaa/",
        "aa-1A/",
        "dead-",
    ):
        mask_likely_secrets(unit * (32 * 1024 // len(unit)))


@pytest.fixture
def no_secrets(monkeypatch):
    """Begin with no hidden secret, and forget those of the test."""
    monkeypatch.setattr(masks, "_secrets", set())


@pytest.mark.usefixtures("no_secrets")
def test_a_secret_within_another_is_masked_with_it():
    """The longer one is masked first, or its rest would be shown."""
    for secret in ("SECRET-12", "SECRET-12-AND-MORE", "MORE-SECRET-12"):
        masks.hide(secret)
    assert masks.mask_known_secrets("SECRET-12-AND-MORE MORE-SECRET-12 SECRET-12") == "*** *** ***"


@pytest.mark.usefixtures("no_secrets")
def test_a_short_text_is_not_hidden():
    """It could be part of ordinary text."""
    masks.hide("info")
    assert masks.mask_known_secrets("information") == "information"
