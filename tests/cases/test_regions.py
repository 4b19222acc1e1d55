"""A parameter or a secret by an ARN is asked where it is, and not in the task's region."""

import json
from types import SimpleNamespace

import boto3
import pytest

from launcher.demand.function import Function
from local import aws as local_aws
from sidecar.aws import secrets
from sidecar.aws.own_session import make_session
from sidecar.aws.secrets import SecretReader, read_secret
from sidecar.errors import TokenError
from sidecar.lifecycle import registration
from sidecar.settings.model import Settings
from sidecar.tokens.ssm import Parameter
from sidecar.values import check_parameter_name
from tests.support.loops import run

FAR = "us-west-2"
PARAMETER = f"arn:aws:ssm:{FAR}:123456789012:parameter"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIALOCAL", "AWS_SECRET_ACCESS_KEY": "local"}


@pytest.fixture
def far(aws, monkeypatch):
    """Give what makes a client in the other region."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": aws}.items():
        monkeypatch.setenv(name, value)
    made = []

    def connect(service):
        made.append(boto3.client(service, region_name=FAR))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def put(far, name, value="ghp_x"):
    """Write a parameter there."""
    far("ssm").put_parameter(Name=name, Value=value, Type="SecureString")


def put_secret(far, value="ghp_x"):
    """Write a secret there; return its ARN."""
    return far("secretsmanager").create_secret(Name="pat", SecretString=value)["ARN"]


def read(text):
    """Read a secret, with a task in the usual region."""
    return run("asyncio", read_secret(text, "SIDECAR_GITHUB_PAT", SecretReader(local_aws.REGION)))


@pytest.mark.parametrize("kind", ["ssm", "secretsmanager"])
def test_a_secret_is_read_where_its_arn_says(far, monkeypatch, kind):
    """With `ssm:` or `secretsmanager:` before it, or alone; without the mend it is not found."""
    if kind == "ssm":
        put(far, "/team/pat")
    arn = f"{PARAMETER}/team/pat" if kind == "ssm" else put_secret(far)
    assert read(arn) == read(f"{kind}:{arn}") == "ghp_x"
    monkeypatch.setattr(
        secrets,
        "ServiceClient",
        lambda service, _, session, made=secrets.ServiceClient: made(
            service, local_aws.REGION, session
        ),
    )
    with pytest.raises(TokenError, match="there is no such"):
        read(arn)


@pytest.mark.parametrize("name", ["/actions/tokens/0f3a", "one"])
@pytest.mark.parametrize("is_read", [True, False])
def test_a_token_parameter_is_read_and_deleted_where_its_arn_says(far, name, is_read):
    """SSM takes no ARN to delete: without the name it would stay there."""
    put(far, name)
    arn = f"{PARAMETER}/{name.lstrip('/')}"
    settings = Settings(token_parameter=arn)

    async def play():
        async with registration.make_store(settings, local_aws.REGION, make_session) as store:
            parameter = Parameter(store, arn)
            if is_read:
                assert (await parameter.read())[0] == "ghp_x"
            await parameter.delete()

    run("asyncio", play())
    assert far("ssm").describe_parameters()["Parameters"] == []


def test_a_launcher_s_configuration_is_read_where_its_arn_says():
    """Its token parameters are in the same region; a name alone is in the task's own."""
    stores = [
        registration.make_store(Settings(**given), "eu-west-1", make_session)
        for given in ({"launch_config": f"{PARAMETER}/config"}, {"token_parameter": "/t"}, {})
    ]
    assert [store._region for store in stores] == [FAR, "eu-west-1", "eu-west-1"]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:secretsmanager:eu-central-1:123456789012:secret:pat-AbCdEf",
        "arn:aws:iam::123456789012:role/x",
        "arn:aws:ssm:eu-central-1:123456789012:document/x",
    ],
)
def test_the_arn_of_another_thing_is_no_token_parameter(arn):
    """The token parameter is one of SSM: else SSM would be asked for it, and know nothing."""
    with pytest.raises(ValueError, match="the ARN of another thing"):
        check_parameter_name(arn)


def test_the_webhook_s_function_asks_there_too(far, aws):
    """It has a client of its own, which signs for the region that it asks."""
    put(far, "/webhook", "one")
    arns = [f"{PARAMETER}/webhook", put_secret(far, json.dumps({"k": "two"}))]
    environ = {
        **KEYS,
        "AWS_ENDPOINT_URL": aws,
        "AWS_REGION": local_aws.REGION,
        "LAUNCHER_QUEUE_URL": "http://127.0.0.1:9/1/demand",
        "LAUNCHER_WEBHOOK_SECRETS": ",".join(arns),
    }
    function = Function(environ)
    assert function._read_secrets() == ["one", "two"]
    function._caller.close()
    without = SimpleNamespace(call=lambda *given: function._caller.call(*given[:3]))
    with pytest.raises(Exception, match="ParameterNotFound"):
        Function(environ, without)._read_secrets()
    function._caller.close()
