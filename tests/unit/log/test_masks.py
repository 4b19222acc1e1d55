"""What looks like a secret is masked, and what a reader needs is not."""

import secrets
import string

import pytest

from sidecar.log.masks import masked

LETTERS = string.ascii_letters + string.digits


def random(alphabet, length):
    """Give a text like a generated secret's: with letters of both cases and a digit."""
    return "aZ9" + "".join(secrets.choice(alphabet) for _ in range(length - 3))


SECRETS = {
    "pat": "ghp_" + random(LETTERS, 36),
    "fine-grained": "github_pat_" + random(LETTERS + "_", 82),
    "installation": "ghs_" + random(LETTERS, 36),
    "registration": "A" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(28)),
    "jwt": f"eyJ{random(LETTERS, 30)}.{random(LETTERS, 60)}.{random(LETTERS + '-_', 40)}",
    "access-key": "ASIA" + "".join(secrets.choice(string.ascii_uppercase) for _ in range(16)),
    "secret-key": random(LETTERS, 20) + "/" + random(LETTERS, 19),
    "session-token": random(LETTERS + "+/", 400) + "==",
    "jit": random(LETTERS, 4000),
}


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("line", ["{}", "got {} from there", 'x: "{}", y', "(--token={})", "a,{}"])
def test_secrets_by_their_looks(kind, line):
    """No known kind of secret is shown, wherever in a line it stands."""
    secret = SECRETS[kind]
    shown = masked(line.format(secret))
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
def test_secrets_by_their_names(line, shown):
    """A short secret is known by what stands before it."""
    masked_line = masked(line)
    assert "abcdefgh" not in masked_line
    assert "12345678" not in masked_line
    assert masked_line == shown or (line.startswith("Auth") and masked_line.endswith("***"))


@pytest.mark.parametrize(
    "line",
    [
        "[2026-01-22 12:13:35Z ERR  Listener] System.Net.Http.HttpRequestException: refused",
        "   at GitHub.Runner.Listener.Runner.RunAsync(RunnerSettings settings, Boolean runOnce)",
        "/home/runner/actions-runner/externals/node24/bin/Node_modules_of_1_package/index",
        "commit 2cef10bd41a8f7d2ab1d7d2f0f4f1c9c0a3b5e6f and 11d2a0de-5a0b-4e7f-8a3b-2f0b1c3d4e5f",
        "Listener exit with 1, ***redacted*** already",
        "================================================================================",
    ],
)
def test_what_a_reader_needs_stays(line):
    """Times, traces, paths, checksums and ids are shown as they are."""
    assert masked(line) == line


def test_a_long_line_is_masked_in_time():
    """What an outsider wrote cannot keep the agent busy: 32 KiB of anything, at once."""
    for unit in ("a", "eyJ", "A1b", "token=", "://", "a/b", "=", "\"'"):
        masked(unit * (32 * 1024 // len(unit)))
