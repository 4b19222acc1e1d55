"""Every secret of the environment is known before anything is printed."""

import pytest

from sidecar.examination import known_secrets
from sidecar.log import masks
from sidecar.settings.model import SECRETS, variable

OWN = [*map(variable, (*SECRETS, "token_key"))]


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch):
    """Begin without a known secret, and leave none."""
    monkeypatch.setattr(masks, "_secrets", set())


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        *((variable(field), "0123456789", "0123456789") for field in sorted(SECRETS)),
        ("SIDECAR_TOKEN_KEY", "0123456789", "0123456789"),
        ("AWS_SECRET_ACCESS_KEY", " 0123456789 ", "0123456789"),
        ("AWS_SESSION_TOKEN", "0123456789", "0123456789"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "0123456789", "0123456789"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/1", "/v2/credentials/1"),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://127.0.0.1:80/v2/credentials/1",
            "/v2/credentials/1",
        ),
        ("HTTPS_PROXY", "http://me:proxy-password@proxy:3128", "proxy-password"),
        ("https_proxy", "me:proxy-password@proxy:3128", "proxy-password"),
        ("GH_TOKEN", "ghp_" + "a1B2" * 9, "ghp_" + "a1B2" * 9),
    ],
)
def test_a_secret_is_masked(name, value, hidden):
    """Wherever it may come up."""
    known_secrets.hide_all({name: value}, OWN)
    assert masks.mask_known_secrets(f"x {hidden} y") == "x *** y"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIDECAR_GITHUB_PAT", "secretsmanager:runner-pat"),
        ("SIDECAR_GITHUB_APP_KEY", "file:/run/secrets/app.pem"),
        ("SIDECAR_TOKEN_PARAMETER", "/actions/tokens/0f3a"),
        ("HTTPS_PROXY", "http://proxy.example.com:3128"),
        ("PATH", "/usr/local/bin:/usr/bin"),
        ("TOKEN_HINT", "/somewhere/else"),
    ],
)
def test_what_is_no_secret_stays_readable(name, value):
    """A line that says where a secret is must say it."""
    known_secrets.hide_all({name: value}, OWN)
    assert masks.mask_known_secrets(f"x {value} y") == f"x {value} y"
