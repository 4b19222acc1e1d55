"""A static secret, or where to find it: file, SSM, Secrets Manager."""

import boto3
import pytest
import stamina.instrumentation
from structlog.testing import capture_logs

from local import aws as local_aws
from local import faults
from local.faults import Rule
from sidecar.aws import secrets
from sidecar.aws.secrets import SecretReader, resolved
from sidecar.errors import TokenError
from tests.support.loops import on_both, run

SETTING = "SIDECAR_GITHUB_PAT"
ASKER = SecretReader(local_aws.REGION)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    """Give dummy credentials, and retry after a moment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    growing = secrets.growing
    monkeypatch.setattr(
        secrets, "growing", lambda kinds, **_: growing(kinds, first=0.01, longest=0.02)
    )
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def put(aws, kind, value):
    """Store a secret; gives its reference."""
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


async def read(aws, monkeypatch, reference, *rules, secret_reader=ASKER):
    """Resolve a reference, with trouble on the way."""
    async with faults.serving(aws) as proxy:
        for rule in rules:
            proxy.add(rule)
        for service in ("SSM", "SECRETS_MANAGER"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", proxy.url)
        return await resolved(reference, SETTING, secret_reader), len(proxy.requests)


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
def test_a_secret_may_be_given_itself(reference, secret):
    """By the task definition's `secrets`: the execution role's business, and no warning."""
    with capture_logs() as events:
        assert run("asyncio", resolved(reference, SETTING, ASKER)) == secret
    assert events == []


def test_a_secret_may_be_a_file(tmp_path):
    """As compose and Kubernetes mount them, with a line's end; no warning either."""
    (tmp_path / "pat").write_text("ghp_x\n")
    with capture_logs() as events:
        assert run("asyncio", resolved(f"file:{tmp_path}/pat", SETTING, ASKER)) == "ghp_x"
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
def test_a_file_that_holds_no_secret_is_told(tmp_path, content, why):
    """With the setting and the file."""
    if content is not None:
        (tmp_path / "pat").write_bytes(content)
    with pytest.raises(TokenError, match=why):
        run("asyncio", resolved(f"file:{tmp_path}/pat", SETTING, ASKER))


@on_both
@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_a_secret_may_be_a_reference_and_the_job_may_read_it_too(loop, aws, monkeypatch, kind):
    """It works, with one warning that names the setting and what to do instead."""
    reference = put(aws, kind, "ghp_x\n")
    with capture_logs() as events:
        assert run(loop, read(aws, monkeypatch, reference)) == ("ghp_x", 1)
    (warning,) = [event for event in events if event["event"] == "credential.shared"]
    assert (warning["log_level"], warning["setting"]) == ("warning", SETTING)
    assert "SIDECAR_JOB_ROLE_ARN" in warning["reason"]
    assert "ghp_x" not in repr(events)


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_where_jobs_have_a_role_of_their_own_there_is_no_warning(aws, monkeypatch, kind):
    """Then the task role is the agent's alone."""
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
        Rule("not-json", times=2),
    ],
    ids=lambda rule: rule.error or rule.kind,
)
def test_what_may_pass_is_tried_again(aws, monkeypatch, kind, rule):
    """Two failures, then success."""
    reference = put(aws, kind, "ghp_x")
    assert run("asyncio", read(aws, monkeypatch, reference, rule)) == ("ghp_x", 3)


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule("status", error="AccessDeniedException"), r"access denied \(needs {permission}\)"),
        (Rule("reset"), "no network path to"),
    ],
    ids=["denied", "unreachable"],
)
def test_what_does_not_pass_names_the_setting(aws, monkeypatch, kind, rule, why):
    """And the permission, which is another one for each service."""
    permission = {"ssm": "ssm:GetParameter", "secretsmanager": "secretsmanager:GetSecretValue"}
    reference = put(aws, kind, "ghp_x")
    why = why.format(permission=permission[kind])
    told = f"cannot read {SETTING} from the (parameter|secret) /pat: {why}"
    with pytest.raises(TokenError, match=told):
        run("asyncio", read(aws, monkeypatch, reference, rule))


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_a_secret_that_is_not_there_is_not_waited_for(aws, monkeypatch, kind):
    """Nobody will write it: the error names the setting, not that of the token."""
    with pytest.raises(TokenError, match=rf"/none: .*\({SETTING}\)"):
        run("asyncio", read(aws, monkeypatch, f"{kind}:/none"))


def test_a_secret_that_is_not_text_is_told(aws, monkeypatch):
    """Secrets Manager holds bytes, too."""
    reference = put(aws, "secretsmanager", b"\x00")
    with pytest.raises(TokenError, match="the secret /pat is not text"):
        run("asyncio", read(aws, monkeypatch, reference))
