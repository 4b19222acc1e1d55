"""A secret that is given as it is, or read from a file, SSM or Secrets Manager."""

import boto3
import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from local import aws as local_aws
from local import faults
from local.faults import Rule
from sidecar.aws import calls
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.errors import TokenError
from tests.support.loops import on_both, run

SETTING = "SIDECAR_GITHUB_PAT"
READER = SecretReader(local_aws.REGION)
HASTY = SecretReader(local_aws.REGION, timeout=0.5)
"""For errors that are retried until there is no time left."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Set dummy credentials, and make the pauses short."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.01, longest=0.02)
    )
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def put(aws, kind, value):
    """Store a secret; return its reference."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    client = boto3.client(kind, endpoint_url=aws, region_name=local_aws.REGION, **keys)
    try:
        if kind == "ssm":
            client.put_parameter(Name="/pat", Value=value, Type="SecureString", Overwrite=True)
        elif isinstance(value, bytes):
            client.create_secret(Name="/pat", SecretBinary=value)
        else:
            client.create_secret(Name="/pat", SecretString=value)
    finally:
        client.close()
    return f"{kind}:/pat"


async def read(aws, monkeypatch, reference, *rules, secret_reader=READER):
    """Read a reference through a proxy that fails as `rules` say; also count the calls."""
    async with faults.serving(aws) as proxy:
        for rule in rules:
            proxy.add(rule)
        for service in ("SSM", "SECRETS_MANAGER"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", proxy.url)
        return await read_secret(reference, SETTING, secret_reader), len(proxy.requests)


@pytest.mark.parametrize(
    ("reference", "secret"),
    [
        ("ghp_x", "ghp_x"),
        (" ghp_x\n", "ghp_x"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4\n\nx\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4\n\nx",
        ),
    ],
)
def test_a_secret_may_be_given_as_it_is(reference, secret):
    """ECS sets it from the task definition's `secrets`, so there is no warning."""
    with capture_logs() as events:
        assert run("asyncio", read_secret(reference, SETTING, READER)) == secret
    assert events == []


def test_a_secret_may_be_a_file(tmp_path):
    """As compose and Kubernetes mount them, with a newline; there is no warning either."""
    (tmp_path / "pat").write_text("ghp_x\n")
    with capture_logs() as events:
        assert run("asyncio", read_secret(f"file:{tmp_path}/pat", SETTING, READER)) == "ghp_x"
    assert events == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read SIDECAR_GITHUB_PAT from .*: No such file"),
        (b"", "cannot use SIDECAR_GITHUB_PAT: it is empty"),
        (b" \n", "cannot use SIDECAR_GITHUB_PAT: it is empty"),
        (b"\xff\xfe", "cannot read SIDECAR_GITHUB_PAT from .*: it is not text"),
    ],
)
def test_a_file_that_holds_no_secret_is_an_error(tmp_path, content, why):
    """It names the setting and the file."""
    if content is not None:
        (tmp_path / "pat").write_bytes(content)
    with pytest.raises(TokenError, match=why):
        run("asyncio", read_secret(f"file:{tmp_path}/pat", SETTING, READER))


@on_both
@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_a_secret_may_be_a_reference_and_the_log_warns(loop, aws, monkeypatch, kind):
    """A job can read it too: the warning names the setting and what to do instead."""
    reference = put(aws, kind, "ghp_x\n")
    with capture_logs() as events:
        assert run(loop, read(aws, monkeypatch, reference)) == ("ghp_x", 1)
    (warning,) = [event for event in events if event["event"] == "credential.shared"]
    assert (warning["log_level"], warning["setting"]) == ("warning", SETTING)
    assert "SIDECAR_JOB_ROLE_ARN" in warning["reason"]
    assert "ghp_x" not in repr(events)


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_with_a_separate_job_role_there_is_no_warning(aws, monkeypatch, kind):
    """Then no job has the task role."""
    reference, alone = put(aws, kind, "ghp_x"), SecretReader(local_aws.REGION, shared=False)
    with capture_logs() as events:
        run("asyncio", read(aws, monkeypatch, reference, secret_reader=alone))
    assert events == []


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
@pytest.mark.parametrize(
    "rule",
    [
        Rule("reset", times=2),
        Rule("status", error="ThrottlingException", times=2),
        Rule("status", error="InternalServerError", times=2),
        Rule("status", error="ExpiredTokenException", times=2),
        Rule("not-json", times=2),
    ],
    ids=lambda rule: rule.error or rule.kind,
)
def test_transient_errors_are_retried(aws, monkeypatch, kind, rule):
    """Two failures, then the secret, from each service."""
    reference = put(aws, kind, "ghp_x")
    found = run("asyncio", read(aws, monkeypatch, reference, rule))
    assert found == ("ghp_x", 3)


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule("status", error="AccessDeniedException"), r"access denied \(needs {permission}\)"),
        (Rule("reset"), "no network path to"),
    ],
    ids=["denied", "unreachable"],
)
def test_an_error_names_the_setting(aws, monkeypatch, kind, rule, why):
    """And the permission, which differs between the services."""
    permission = {"ssm": "ssm:GetParameter", "secretsmanager": "secretsmanager:GetSecretValue"}
    reference = put(aws, kind, "ghp_x")
    why = why.format(permission=permission[kind])
    words = f"cannot read {SETTING} from the (parameter|secret) /pat: {why}"
    with pytest.raises(TokenError, match=words):
        run("asyncio", read(aws, monkeypatch, reference, rule, secret_reader=HASTY))


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_a_secret_that_is_not_there_is_not_waited_for(aws, monkeypatch, kind):
    """No launcher writes it; the error names the setting, and not the token's."""
    with pytest.raises(TokenError, match=rf"/none: .*\({SETTING}\)"):
        run("asyncio", read(aws, monkeypatch, f"{kind}:/none"))


def test_a_secret_that_is_not_text_is_an_error(aws, monkeypatch):
    """Secrets Manager can hold bytes, too."""
    reference = put(aws, "secretsmanager", b"\x00")
    with pytest.raises(TokenError, match="the secret /pat is not text"):
        run("asyncio", read(aws, monkeypatch, reference))


@pytest.mark.parametrize(
    ("kind", "variable"),
    [("ssm", "AWS_ENDPOINT_URL_SSM"), ("secretsmanager", "AWS_ENDPOINT_URL_SECRETS_MANAGER")],
)
def test_a_broken_endpoint_names_the_variable_of_its_service(monkeypatch, kind, variable):
    """Before, a user of Secrets Manager was sent to AWS_ENDPOINT_URL_SSM."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv(variable, "no-url")
    with pytest.raises(TokenError, match=rf"\(look at AWS_REGION, {variable}\)$"):
        run("asyncio", read_secret(f"{kind}:/pat", SETTING, READER))
