"""The separate job role, from moto's STS and from one that fails in every way."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import time as now

import pytest
from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from local import aws as local_aws
from local import ecs_agent
from sidecar.aws.agent_credentials import AgentCredentials
from sidecar.aws.container_credentials import RejectedError, UnavailableError
from sidecar.errors import RelayError
from sidecar.relay import Endpoint, Pace, job_role, serving
from sidecar.relay.job_role import JobRole, Terms, session_name

ROLE = f"arn:aws:iam::{local_aws.ACCOUNT}:role/team/job"
POLICY = '{"Version":"2012-10-17","Statement":[]}'


def terms(role: str | None = ROLE, policy: str | None = None) -> Terms:
    """Return what jobs get."""
    return Terms(role, policy, local_aws.REGION)


@asynccontextmanager
async def own(endpoint: str):
    """Yield the agent's own credentials, from an ECS agent whose credentials that STS knows."""
    async with ecs_agent.serving(aws_endpoint=endpoint) as agent:
        yield AgentCredentials(Endpoint(agent.url + agent.relative_uri, so_mark=True)), agent


@pytest.mark.parametrize(
    ("runner", "session"),
    [
        ("ecs-0f3a", "ecs-0f3a"),
        ("a b/c:d", "a-b-c-d"),
        ("bücher", "b-cher"),
        ("x" * 80, "x" * 64),
        ("x", "job-x"),
        ("", "job-"),
    ],
)
def test_a_session_is_named_for_its_runner(runner, session):
    """CloudTrail shows it; STS accepts 2 to 64 characters, and only some."""
    assert session_name(runner) == session


def test_the_role_is_assumed_for_an_hour_under_the_runner_s_name(run, aws, monkeypatch):
    """STS knows the credentials that it answers by that session."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws)

    async def work():
        async with own(aws) as (agents, _):
            source = JobRole(terms(policy=POLICY), agents)
            source.set_runner("ecs-0f3a")
            async with source.connected() as fetch:
                return await fetch(now(), 60.0)

    held = run(work())
    document = json.loads(held.body)
    assert document["RoleArn"] == held.role_arn == ROLE
    assert 3500 < held.expires_at - now() <= 3600
    given = local_aws.Credentials(
        document["AccessKeyId"], document["SecretAccessKey"], document["Token"], datetime.now(UTC)
    )
    assert local_aws.whoami(aws, given).endswith("/ecs-0f3a")


def test_the_relay_has_credentials_only_after_the_runner_has_its_name(run, aws, monkeypatch):
    """No role is assumed under another name."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws)

    async def work():
        async with own(aws) as (agents, agent):
            source = JobRole(terms(), agents)
            async with serving(source, "127.0.0.1", 0, pace=Pace(try_timeout=60.0)) as relay:
                with pytest.raises(RelayError, match="jobs never get the task role"):
                    await relay.wait_until_fetched(0.1)
                assert agent.requests == []
                source.set_runner("ecs-0f3a")
                await relay.wait_until_fetched(60.0)
                return relay.state

    assert run(work()).held


def test_a_policy_alone_is_for_the_role_that_the_endpoint_names(run, aws, monkeypatch):
    """The task role is assumed again, with less."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws)

    async def work():
        async with own(aws) as (agents, _):
            source = JobRole(terms(None, POLICY), agents)
            source.set_runner("ecs-0f3a")
            async with source.connected() as fetch:
                return await fetch(now(), 60.0)

    assert run(work()).role_arn == local_aws.TASK_ROLE


def test_without_a_role_s_name_the_error_names_the_setting(run, monkeypatch):
    """Where no endpoint names the task role, it is not guessed."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def work():
        source = JobRole(terms(None, POLICY), None)
        source.set_runner("x1")
        async with source.connected() as fetch:
            with pytest.raises(RejectedError, match="SIDECAR_JOB_ROLE_ARN"):
                await fetch(now(), 60.0)

    run(work())


def test_a_failure_of_the_endpoint_is_in_the_error(run, aws, monkeypatch):
    """Without its own credentials the agent cannot assume any role."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", aws)

    async def work():
        async with own(aws) as (agents, agent):
            agent.credentials.name = "unknown"
            source = JobRole(terms(), agents)
            source.set_runner("x1")
            async with source.connected() as fetch:
                with pytest.raises(UnavailableError, match="answered 400 InvalidIdInRequest"):
                    await fetch(now(), 60.0)

    run(work())


def refusal(code: str, status: int = 400) -> aws.ClientError:
    """Return an error that STS answers."""
    response = {
        "Error": {"Code": code, "Message": "SECRET"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return aws.ClientError(response, "AssumeRole")


REJECTED = [
    (refusal("AccessDenied", 403), "needs sts:AssumeRole on it, and a trust policy"),
    (refusal("MalformedPolicyDocument"), "SIDECAR_JOB_POLICY"),
    (refusal("PackedPolicyTooLarge"), "too large for a session (SIDECAR_JOB_POLICY)"),
    (refusal("RegionDisabledException", 403), "AWS_REGION"),
    (refusal("ValidationError"), "SIDECAR_JOB_ROLE_ARN"),
    (
        refusal("InvalidClientTokenId", 403),
        "AWS does not accept the credentials: InvalidClientTokenId",
    ),
    (aws.NoCredentialsError(), "taskRoleArn"),
    (aws.NoRegionError(), "AWS_REGION"),
    (aws.ParamValidationError(report="x"), "SIDECAR_JOB_ROLE_ARN"),
    (aws.InvalidEndpointConfigurationError(msg="x"), "AWS_ENDPOINT_URL_STS"),
]
UNAVAILABLE = [
    (refusal("Throttling"), "throttled by STS"),
    (refusal("TooMany", 429), "throttled by STS"),
    (refusal("InternalFailure", 500), "STS answers 500"),
    (refusal("ExpiredToken", 403), "the credentials have expired: ExpiredToken"),
    (aws.EndpointConnectionError(endpoint_url="https://sts"), "no network path to STS"),
    (OSError(101, "x"), "no network path to STS"),
    (
        aws.CredentialRetrievalError(provider="x", error_msg="y"),
        "cannot get the task role's credentials",
    ),
    (ResponseParserError("x"), "unreadable answer"),
    (KeyError("Credentials"), "unreadable answer"),
]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [(error, RejectedError, words) for error, words in REJECTED]
    + [(error, UnavailableError, words) for error, words in UNAVAILABLE],
)
def test_each_failure_names_what_to_change(run, error, kind, words):
    """The permission or the setting; its class says whether to retry; no secret shows."""

    class Failing:
        async def assume_role(self, **_):
            raise error

    class Client:
        async def connect(self):
            return Failing()

    async def work():
        source = JobRole(terms(), None)
        with pytest.raises(kind) as failed:
            await source._fetch(Client(), now(), 60.0)
        assert words in str(failed.value)
        assert ROLE in str(failed.value)
        assert "SECRET" not in str(failed.value)

    run(work())


def test_a_fetch_has_a_deadline(run):
    """Whatever the library's own limits are."""

    class Hanging:
        async def connect(self):
            await asyncio.Event().wait()

    async def work():
        source = JobRole(terms(), None)
        with pytest.raises(UnavailableError, match=r"no answer from STS within 0\.05 s"):
            await source._fetch(Hanging(), now(), 0.05)

    run(work())


def test_an_answer_without_credentials_is_an_error(run):
    """STS's answer is checked as any other endpoint's is."""

    class Empty:
        async def assume_role(self, **_):
            return {"Credentials": {"AccessKeyId": "x", "Expiration": "y"}}

    class Client:
        async def connect(self):
            return Empty()

    async def work():
        source = JobRole(terms(), None)
        with pytest.raises(UnavailableError, match="without a usable SecretAccessKey, Token"):
            await source._fetch(Client(), now(), 60.0)

    run(work())


def test_the_policy_is_never_shown():
    """Its repr leaves it out, so that no traceback holds it."""
    assert "Statement" not in repr(terms(policy=POLICY))
    assert job_role.SECONDS == 3600
