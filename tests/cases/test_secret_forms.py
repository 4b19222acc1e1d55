"""A secret in the forms that ECS users know: a key of JSON, ECS's own suffix, an ARN by itself."""

import asyncio
import json

import boto3
import pytest
from structlog.testing import capture_logs

from launcher.demand.function import Function
from launcher.demand.signed_call import CallFailed
from launcher.errors import describe_refusal
from launcher.serve import WebhookSecrets
from local import aws as local_aws
from sidecar import github
from sidecar.aws import secrets
from sidecar.aws.references import Reference, parse_reference, pick_value
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.errors import SidecarError, TokenError
from sidecar.github import App, Pat
from sidecar.github.scope import Scope
from sidecar.tokens import MintedToken
from tests.support.loops import run

SETTING = "SIDECAR_GITHUB_PAT"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIALOCAL", "AWS_SECRET_ACCESS_KEY": "local"}
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:team/pat-AbCdEf"


@pytest.fixture
def store(aws, monkeypatch):
    """Give what stores a secret in Secrets Manager and returns its ARN."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": aws}.items():
        monkeypatch.setenv(name, value)

    def put(value, region=local_aws.REGION):
        client = boto3.client("secretsmanager", region_name=region)
        try:
            text = value if isinstance(value, str) else json.dumps(value)
            return client.create_secret(Name="team/pat", SecretString=text)["ARN"]
        finally:
            client.close()

    return put


def read(text, **more):
    """Read a secret."""
    return run("asyncio", read_secret(text, SETTING, SecretReader(local_aws.REGION), **more))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ghp_x", Reference("", "ghp_x")),
        ("file:/run/a:b", Reference("file", "/run/a:b")),
        ("ssm:/pat", Reference("ssm", "/pat")),
        ("secretsmanager:team/pat", Reference("secretsmanager", "team/pat")),
        ("secretsmanager:team/pat:key", Reference("secretsmanager", "team/pat", key="key")),
        (f"secretsmanager:{ARN}", Reference("secretsmanager", ARN, "eu-central-1")),
        (ARN, Reference("secretsmanager", ARN, "eu-central-1")),
        (f"{ARN}:key::", Reference("secretsmanager", ARN, "eu-central-1", "key")),
        (f"{ARN}:key", Reference("secretsmanager", ARN, "eu-central-1", "key")),
        (
            f"{ARN}:key:AWSPREVIOUS:",
            Reference("secretsmanager", ARN, "eu-central-1", "key", "AWSPREVIOUS"),
        ),
        (f"{ARN}:::v1", Reference("secretsmanager", ARN, "eu-central-1", None, None, "v1")),
        (
            "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/a",
            Reference("ssm", "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/a", "cn-north-1"),
        ),
        ("arn:aws:iam::123456789012:role/x", Reference("", "arn:aws:iam::123456789012:role/x")),
    ],
)
def test_a_reference_is_read_as_ecs_reads_it(text, found):
    """`:key:stage:version` behind the name or the ARN; each of them may be empty."""
    assert parse_reference(text) == found


def test_a_reference_with_too_many_parts_is_refused():
    """The error names the setting."""
    with pytest.raises(TokenError, match=f"{SETTING}: it has more behind the secret's name"):
        read(f"{ARN}:a:b:c:d")


@pytest.mark.parametrize("end", [":pat::", ":pat", ":pat:AWSCURRENT:"])
@pytest.mark.parametrize("prefix", ["", "secretsmanager:"])
def test_a_key_of_a_secret_is_read(store, monkeypatch, prefix, end):
    """Without the mend the whole text is looked up as the secret's name."""
    arn = store({"pat": "ghp_x", "user": "SECRET"})
    assert read(f"{prefix}{arn}{end}") == "ghp_x"
    old = lambda text: Reference("secretsmanager", text.removeprefix("secretsmanager:"))  # noqa: E731
    monkeypatch.setattr(secrets, "parse_reference", old)
    with pytest.raises(TokenError):
        read(f"{prefix}{arn}{end}")


@pytest.mark.parametrize("value", [{"pat": "ghp_x"}, {"pat": " ghp_x\n"}, '"ghp_x"', "ghp_x"])
def test_the_only_key_is_taken(store, value):
    """As the console makes it; without the mend the whole JSON is the access token."""
    assert read(f"secretsmanager:{store(value).rpartition('-')[0]}") == "ghp_x"


def test_a_whole_secret_that_ecs_put_into_the_variable_is_read_so():
    """A task definition's `secrets` without a key brings the whole JSON."""
    with capture_logs() as events:
        assert read('{"pat": "ghp_x"}') == "ghp_x"
    assert events == []


@pytest.mark.parametrize(
    ("value", "end", "why"),
    [
        ({"pat": "ghp_SECRET", "id": "2"}, "", "is JSON with 2 keys: name the one that is meant"),
        ({"pat": "ghp_SECRET"}, ":token::", "has no key token"),
        ("ghp_SECRET", ":token::", "is no JSON object, so it has no key token"),
        ({"pat": {"a": "SECRET"}}, ":pat::", "holds no text under the key"),
        ({"pat": ["SECRET"]}, "", "holds no text under the key"),
        ({"pat": " "}, "", "holds no text under the key"),
    ],
)
def test_json_that_does_not_say_which_is_refused_by_name(store, value, end, why):
    """The setting, and what is wrong; no value, and no hint at permissions."""
    arn = store(value)
    with pytest.raises(TokenError) as refused:
        read(f"{arn}{end}")
    said = str(refused.value)
    assert said.startswith(f"cannot use {SETTING}: what {arn} holds {why}")
    assert "SECRET" not in said
    assert "needs" not in said


def test_text_that_only_begins_like_json_stays_as_it_is():
    """Such as a password that begins with a brace."""
    assert pick_value("{not json") == "{not json"
    assert pick_value("{}") == "{}"


# --- an access token that can be none -----------------------------------------------------------


@pytest.mark.parametrize("text", ["ghp_a b", "ghp_a\nghp_b", "{'pat': 'x'}", "ghp_ä"])
def test_an_access_token_that_can_be_none_is_refused_at_once(text):
    """The HTTP client would refuse the header in each try."""
    with pytest.raises(github.CredentialRefused, match="cannot use THE_SETTING: it holds blanks"):
        github.check_pat(text, "THE_SETTING")
    assert github.check_pat("github_pat_11A_b", "X") == "github_pat_11A_b"


# --- hints --------------------------------------------------------------------------------------


async def _never(*_):
    raise AssertionError


def _mint(error):
    """Return why no token could be minted."""

    async def fail():
        raise error

    class Calls:
        """GitHub's calls that fail."""

        async def create_registration_token(self, *, tries):
            """Fail."""
            del tries
            raise error

    async def give():
        return Calls()

    with pytest.raises(TokenError) as refused:
        run("asyncio", MintedToken(give, jit=False).wait(5))
    return str(refused.value)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (github.PermissionDenied("no", 403), "needs administration:write"),
        (github.PermissionDenied("no", 404), "needs administration:write"),
        (github.CredentialRefused("no", 401), "is wrong, has expired or was revoked"),
        (github.CredentialRefused("no RSA key"), None),
        (github.CredentialRefused("not installed", 404), None),
        (github.AddressRefused("no", 403), "IP allow list"),
        (github.GitHubError("GitHub answers 422", 422), None),
        (github.TransientError("GitHub answers 502", 502), None),
    ],
)
def test_a_hint_at_permissions_stands_only_where_they_are_the_answer(error, hint):
    """In the agent and in the launcher."""
    said = _mint(error), describe_refusal(error, "needs administration:write")
    assert all((hint in text) if hint else text.endswith(str(error)) for text in said)
    assert all("needs" not in text for text in said) or "needs" in (hint or "")


def test_a_401_says_that_the_credential_is_refused():
    """It is told from what hides that a repository exists."""
    from sidecar.github.refusals import make_error

    kinds = [type(make_error("", status, "", {}, 0.0)) for status in (401, 403, 404)]
    assert kinds == [github.CredentialRefused, github.PermissionDenied, github.PermissionDenied]


def test_a_key_that_is_none_is_no_question_of_permissions():
    """An App's key that cannot be read, and an App that is not installed."""
    scope = Scope.from_url("https://github.com/o/r")
    with pytest.raises(github.CredentialRefused):
        run("asyncio", App("1", "no key").token(_never, scope))
    assert run("asyncio", Pat("x").token(_never, scope)) == "x"


# --- the launcher's webhook ---------------------------------------------------------------------


def test_the_webhook_reads_its_secrets_so(store, aws):
    """In a service and in a function: the same key, the same lines, the same refusals."""
    arn = store({"webhook": "one\ntwo", "other": "SECRET"})
    environ = {**KEYS, "AWS_ENDPOINT_URL": aws, "AWS_REGION": local_aws.REGION}
    environ["LAUNCHER_QUEUE_URL"] = "http://127.0.0.1:9/1/demand"

    def both(text):
        function = Function(environ | {"LAUNCHER_WEBHOOK_SECRETS": text})
        found = function._read_secrets()
        function._caller.close()
        assert found == asyncio.run(WebhookSecrets(text, local_aws.REGION).read())
        return found

    assert both(f"{arn}:webhook::,three") == ["one", "two", "three"]
    assert both(f"secretsmanager:{arn}:webhook") == ["one", "two"]
    for text in (arn, f"{arn}:none::"):
        with pytest.raises(CallFailed, match=r"JSON with 2 keys|no key none"):
            both(text)
        with pytest.raises(SidecarError, match=r"JSON with 2 keys|no key none"):
            asyncio.run(WebhookSecrets(text, local_aws.REGION).read())
