"""The private key of a GitHub App, in the forms in which people store it."""

import base64
import json
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from launcher.assembly import make_connections
from launcher.deploy.parameters import APP_KEY, Secret, check
from launcher.errors import SettingsError
from launcher.order_stages import read_credential
from launcher.settings import WorkSettings
from launcher.settings import load as load_launcher
from sidecar.aws.secrets import SecretReader
from sidecar.github import App, CredentialRefused, credentials
from sidecar.github.app_key import explain_key, read_app_key
from sidecar.lifecycle import registration
from sidecar.settings.model import Settings
from tests.support.loops import run

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write(form=serialization.PrivateFormat.TraditionalOpenSSL, key=KEY, password=None):
    """Write a key as PEM; GitHub gives the traditional form."""
    how = serialization.NoEncryption()
    if password:
        how = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, form, how).decode()


def encode(text):
    """Encode in base64, as one line."""
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


PEM, PKCS8 = write(), write(serialization.PrivateFormat.PKCS8)
DER = KEY.private_bytes(
    serialization.Encoding.DER,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.NoEncryption(),
)
LINES = base64.encodebytes(PEM.encode()).decode()
FORMS = {
    "PEM": PEM,
    "PKCS #8": PKCS8,
    "PEM without its last line end": PEM.strip(),
    "PEM with other line ends": PEM.replace("\n", "\r\n"),
    "PEM with text before it": f"Bag Attributes\n  a: b\n{PEM}",
    "PEM with a byte order mark": f"\ufeff{PEM}",
    "PEM indented": "".join(f"    {line}\n" for line in PEM.splitlines()),
    "PEM in one line, with blanks": " ".join(PEM.splitlines()),
    "PEM in one line, without": "".join(PEM.splitlines()),
    "line ends written out": PEM.replace("\n", "\\n"),
    "other line ends written out": PEM.replace("\n", "\\r\\n"),
    "line ends written out twice": PEM.replace("\n", "\\\\n"),
    "line ends as a workflow's command has them": PEM.replace("\n", "%0A"),
    "as in a URL": quote(PEM),
    "base64 of PEM": encode(PEM),
    "base64 of PEM, in lines": LINES,
    "base64 of PEM, line ends written out": LINES.replace("\n", "\\n"),
    "base64 of PEM, without padding": encode(PEM + " ").rstrip("="),
    "base64 for URLs": base64.urlsafe_b64encode(PEM.encode()).decode(),
    "base64 of base64": encode(encode(PEM)),
    "base64 of PEM in UTF-16": encode(PEM.encode("utf-16-le")),
    "base64 of DER": encode(DER),
    "base64 of what has line ends written out": encode(PEM.replace("\n", "\\r\\n")),
    "JSON text": json.dumps(PEM),
    "JSON": json.dumps({"private_key": PEM}),
    "JSON with more in it": json.dumps({"app_id": 1, "key": encode(PEM), "secret": "x"}),
    "JSON within JSON": json.dumps({"app": {"id": "1", "pem": PEM}}),
    "JSON of lines": json.dumps({"key": PEM.splitlines()}),
    "base64 of JSON": encode(json.dumps({"key": PEM})),
}
"""The forms that are read; before this, PEM alone and `\\n` written out."""
LAUNCHER = {
    "LAUNCHER_GITHUB_URL": "https://github.com/octo/repo",
    "LAUNCHER_GITHUB_APP_ID": "1",
    "LAUNCHER_CLUSTER": "runners",
    "LAUNCHER_TASK_DEFINITION": "runner:7",
}


def check_credential(app):
    """Check that an App signs with the key."""
    found = jwt.decode(app.jwt(), KEY.public_key(), algorithms=["RS256"])
    assert found["iss"] == "1"


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_read_in_each_form(form):
    """As the same key; an App that has it in that form signs with it."""
    pem = read_app_key(FORMS[form])
    loaded = serialization.load_pem_private_key(pem.encode(), None)
    assert loaded.private_numbers() == KEY.private_numbers()
    check_credential(App("1", FORMS[form]))


@pytest.mark.parametrize("form", ["base64 of PEM", "other line ends written out", "base64 of JSON"])
def test_without_the_mend_these_are_no_key(form, monkeypatch):
    r"""The switch of this file: only PEM, and `\n` written out, were read."""
    monkeypatch.setattr(credentials, "read_app_key", lambda text: text.replace("\\n", "\n"))
    with pytest.raises(CredentialRefused):
        App("1", FORMS[form]).jwt()


@pytest.mark.parametrize("place", ["variable", "file"])
@pytest.mark.parametrize(
    "form",
    [
        "line ends written out",
        "base64 of PEM",
        "JSON",
        "JSON with more in it",
        "JSON text",
        "base64 of DER",
        "PEM",
    ],
)
def test_agent_and_launcher_read_it_wherever_it_stands(form, place, tmp_path):
    """Of JSON with several keys the one that is a key is meant; each reads the same."""
    given = FORMS[form]
    if place == "file":
        (tmp_path / "app.pem").write_text(given)
        given = f"file:{tmp_path}/app.pem"
    settings = Settings(github_app_id="1", github_app_key=given)
    check_credential(
        run("asyncio", registration.read_credential(settings, SecretReader(None))),
    )
    environ = LAUNCHER | {"LAUNCHER_GITHUB_APP_KEY": given}
    order, _ = load_launcher({}, environ)
    check_credential(run("asyncio", read_credential(order, None, lambda _: None)))
    more = {"LAUNCHER_TABLE": "t", "LAUNCHER_POOLS": "p", "LAUNCHER_QUEUE_URL": "http://x/1/q"}
    work, _ = load_launcher({}, environ | more, WorkSettings)
    (_, secret), *_ = make_connections(work, None)._apps
    check_credential(App("1", run("asyncio", secret.get())))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no RSA private key"),
        ("SECRET", "holds no RSA private key"),
        (PEM.partition("-----END")[0], "holds no RSA private key"),
        (write(key=ec.generate_private_key(ec.SECP256R1())), "holds no RSA private key"),
        (json.dumps({"a": PEM, "b": write(key=rsa.generate_private_key(65537, 2048))}), "no RSA"),
        (encode("x" * 99), "holds no RSA private key"),
        (write(serialization.PrivateFormat.PKCS8, password=b"SECRET"), "a passphrase"),
        (
            KEY.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode(),
            "holds a public key",
        ),
        ("/run/secrets/app.pem", "is a path: write file: before it"),
        ("app.private-key.pem", "is a path: write file: before it"),
        ("SHA256:AbCd1234+/=", "the fingerprint of a key"),
    ],
)
def test_what_is_no_key_is_refused_with_what_it_is(text, why):
    """The setting is named; nothing of the text is shown, and no permission is advised."""
    assert read_app_key(text) is None
    assert why in explain_key(text)
    with pytest.raises(CredentialRefused, match=rf"^SIDECAR_GITHUB_APP_KEY .*{why}") as refused:
        App("1", text).jwt()
    assert "SECRET" not in str(refused.value)
    assert refused.value.status == 0


def test_a_deployment_takes_the_same_forms():
    """The key that it writes into SSM is read by the launcher."""
    given = [Secret(APP_KEY, FORMS["base64 of PEM"])]
    assert check(given) == given
    with pytest.raises(SettingsError, match="must be a private key"):
        check([Secret(APP_KEY, "no key")])
