"""Calls of AWS by the standard library; their signatures are judged by botocore's own signer."""

import asyncio
import json
from contextlib import closing
from functools import partial

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from launcher.demand.signed_call import Caller, CallFailed, sign
from local import aws as local_aws
from local import faults
from local.faults import Rule

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIALOCAL",
    "AWS_SECRET_ACCESS_KEY": "se/cr+et",
    "AWS_REGION": local_aws.REGION,
}


@pytest.mark.parametrize("token", [None, "session/token+x=="])
@pytest.mark.parametrize("body", [b"", b'{"a":1}', "ä ☃".encode()])
@pytest.mark.parametrize("service", ["sqs", "ssm", "secretsmanager"])
def test_botocore_signs_the_same(service, body, token):
    """Word for word: every service of AWS checks it by the same rule."""
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.Send"}
    request = AWSRequest("POST", "https://sqs.eu-central-1.amazonaws.com/", headers, body)
    credentials = Credentials("AKIALOCAL", "se/cr+et", token)
    SigV4Auth(credentials, service, "eu-central-1").add_auth(request)

    own = {**headers, "host": "sqs.eu-central-1.amazonaws.com"}
    own["x-amz-date"] = request.headers["X-Amz-Date"]
    if token:
        own["x-amz-security-token"] = token
    scope = f"{own['x-amz-date'][:8]}/eu-central-1/{service}/aws4_request"
    signed = sign("AKIALOCAL", "se/cr+et", scope, own, body)
    assert signed["authorization"] == request.headers["Authorization"]


def test_a_parameter_and_a_secret_are_read(aws):
    """As moto serves them; the same connection is used again."""
    local_aws.put(aws, "/webhook", "first secret")
    caller = Caller({**KEYS, "AWS_ENDPOINT_URL": aws})
    for _ in range(2):
        answer = caller.call("ssm", "GetParameter", {"Name": "/webhook", "WithDecryption": True})
        assert answer["Parameter"]["Value"] == "first secret"
    made = {"Name": "webhook", "SecretString": "x", "ClientRequestToken": "x" * 32}
    caller.call("secretsmanager", "CreateSecret", made)
    answer = caller.call("secretsmanager", "GetSecretValue", {"SecretId": "webhook"})
    assert answer["SecretString"] == "x"


def test_a_refusal_is_named_and_quotes_nothing(aws):
    """Its code says what to change."""
    caller = Caller({**KEYS, "AWS_ENDPOINT_URL_SSM": aws})
    with pytest.raises(CallFailed, match="ssm:GetParameter: AWS answers 400 ParameterNotFound"):
        caller.call("ssm", "GetParameter", {"Name": "/none"})


@pytest.mark.parametrize("kind", ["reset", "close", "not-http", "not-json", "truncate", "status"])
def test_no_answer_is_one_kind_of_error(aws, kind):
    """Whatever the peer does. The next call works."""
    local_aws.put(aws, "/webhook", "secret")

    async def life():
        async with faults.serving(aws) as proxy:
            with closing(Caller({**KEYS, "AWS_ENDPOINT_URL": proxy.url})) as caller:
                read = partial(caller.call, "ssm", "GetParameter", {"Name": "/webhook"})
                proxy.add(Rule(kind, times=1))
                with pytest.raises(CallFailed, match="ssm:GetParameter: "):
                    await asyncio.to_thread(read)
                return await asyncio.to_thread(read)

    assert asyncio.run(asyncio.wait_for(life(), 30))["Parameter"]["Name"] == "/webhook"


def test_a_connection_that_ended_meanwhile_is_opened_again(aws):
    """A container may sleep for minutes between two deliveries."""
    local_aws.put(aws, "/webhook", "secret")

    async def life():
        async with faults.serving(aws) as proxy:
            with closing(Caller({**KEYS, "AWS_ENDPOINT_URL": proxy.url})) as caller:
                read = partial(caller.call, "ssm", "GetParameter", {"Name": "/webhook"})
                await asyncio.to_thread(read)
                proxy.add(Rule("close", times=1))
                return await asyncio.to_thread(read)

    assert asyncio.run(asyncio.wait_for(life(), 30))["Parameter"]["Name"] == "/webhook"


def test_the_endpoint_follows_the_region(monkeypatch):
    """And the partition."""
    seen = []

    def send(self, scheme, netloc, headers, body):
        seen.append((scheme, netloc, headers["host"], json.loads(body)))
        return 200, b""

    monkeypatch.setattr(Caller, "_send", send)
    for region in ("eu-central-1", "cn-north-1"):
        assert Caller({**KEYS, "AWS_REGION": region}).call("sqs", "SendMessage", {"a": 1}) == {}
    hosts = ["sqs.eu-central-1.amazonaws.com", "sqs.cn-north-1.amazonaws.com.cn"]
    assert seen == [("https", host, host, {"a": 1}) for host in hosts]
