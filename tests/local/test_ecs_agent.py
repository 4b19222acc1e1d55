"""The stand-in for the ECS agent: as the real one answers, and as real SDKs read it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import asynccontextmanager
from datetime import datetime

import aiohttp
import pytest

from local import aws as local_aws
from local import ecs_agent

TIMEOUT = 60.0

WHOAMI = """
import boto3
print(boto3.client("sts").get_caller_identity()["Arn"])
"""
WHOAMI_AIO = """
import asyncio
from aiobotocore.session import get_session
async def main():
    async with get_session().create_client("sts") as sts:
        print((await sts.get_caller_identity())["Arn"])
asyncio.run(main())
"""


def run(work):
    """Run a coroutine in bounded time."""

    async def bounded():
        async with asyncio.timeout(TIMEOUT):
            return await work

    return asyncio.run(bounded())


@asynccontextmanager
async def asked(**options):
    """Serve an agent; gives it, and a function that asks it."""
    async with ecs_agent.serving(**options) as agent, aiohttp.ClientSession() as session:

        async def ask(path, method="GET", **more):
            async with session.request(method, agent.url + path, **more) as answer:
                return answer.status, answer.headers.get("Content-Type"), await answer.read()

        yield agent, ask


def test_credentials_are_answered_in_the_agents_words():
    """Every row of the agent's table, to the byte where it is fixed."""

    async def case():
        async with asked() as (agent, ask):
            status, kind, body = await ask(agent.relative_uri)
            assert (status, kind) == (200, "application/json")
            assert list(json.loads(body)) == [
                "RoleArn",
                "AccessKeyId",
                "SecretAccessKey",
                "Token",
                "Expiration",
            ]
            assert b": " not in body
            assert await ask(agent.relative_uri, "POST", data=b"any method") == (200, kind, body)
            assert await ask("/v2/credentials/nobody") == (
                400,
                "application/json",
                (
                    b'{"code":"InvalidIdInRequest","message":"CredentialsV2Request: '
                    b'Credentials not found","HTTPErrorCode":400}'
                ),
            )
            status, kind, body = await ask("/v2/credentials/")
            assert (status, kind) == (400, "application/json")
            assert json.loads(body)["code"] == "NoIdInRequest"
            for path in ("/v2/credentials", "/", "/latest/meta-data/"):
                assert await ask(path) == (
                    404,
                    "text/plain; charset=utf-8",
                    b"404 page not found\n",
                )
            assert (await ask(f"/v1/credentials?id={agent.credentials_id}"))[0] == 200
            assert b"CredentialsV1Request" in (await ask("/v1/credentials"))[2]

    run(case())


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("uninitialized", 503, "CredentialsUninitialized"),
        ("unknown", 400, "InvalidIdInRequest"),
        ("broken", 500, "InternalServerError"),
    ],
)
def test_credentials_can_be_in_trouble(mode, status, code):
    """The control plane sets a trouble, for ever or for so many requests."""

    async def case():
        async with asked() as (agent, ask):
            answer = {"mode": mode, "times": 2}
            assert (await ask("/_local/credentials", "PUT", json=answer))[0] == 204
            answers = [await ask(agent.relative_uri) for _ in range(3)]
            assert [answer[0] for answer in answers] == [status, status, 200]
            assert json.loads(answers[0][2])["code"] == code

    run(case())


def test_expired_credentials_are_a_200():
    """As the agent is known to do, the answer is 200 and the time in it has passed."""

    async def case():
        async with asked() as (agent, ask):
            agent.credentials.name = "expired"
            status, _, body = await ask(agent.relative_uri)
            moment = datetime.fromisoformat(json.loads(body)["Expiration"])
            return status, moment < datetime.now(moment.tzinfo)

    assert run(case()) == (200, True)


def test_an_agent_can_hang():
    """No answer comes, and the agent ends all the same."""

    async def case():
        async with asked() as (agent, ask):
            agent.credentials.name = "hang"
            agent.protection.name = "hang"
            protection = f"/api/{agent.container_id}/task-protection/v1/state"
            patience = aiohttp.ClientTimeout(total=8.0)  # both have come by then
            asking = (ask(path, timeout=patience) for path in (agent.relative_uri, protection))
            answers = await asyncio.gather(*asking, return_exceptions=True)
            assert [type(answer) for answer in answers] == [TimeoutError] * 2
            return [seen.status for seen in agent.requests]

    assert run(case()) == [None, None]


def test_an_unknown_mode_is_refused():
    """A test that misspells a trouble learns of it."""

    async def case():
        async with asked() as (_, ask):
            return [
                (await ask(f"/_local/{part}", "PUT", json={"mode": "odd"}))[0]
                for part in ("credentials", "protection")
            ]

    assert run(case()) == [400, 400]


def test_credentials_are_renewed_before_they_end():
    """Near its end a version is replaced; until then everybody gets the same one."""

    async def case():
        now = [1_800_000_000.0]
        async with asked(now=lambda: now[0]) as (agent, ask):
            first = (await ask(agent.relative_uri))[2]
            now[0] += 4 * 3600
            assert (await ask(agent.relative_uri))[2] == first
            now[0] += 1.5 * 3600
            second = (await ask(agent.relative_uri))[2]
            await ask("/_local/credentials", "PUT", json={"lifetime": 60})
            third = (await ask(agent.relative_uri))[2]
            return [json.loads(body) for body in (first, second, third)]

    versions = run(case())
    assert len({version["AccessKeyId"] for version in versions}) == 3
    assert versions[0]["Expiration"] == "2027-01-15T14:00:00Z"
    assert versions[2]["Expiration"] == "2027-01-15T13:31:00Z"


def test_the_limit_is_per_address_and_path():
    """60 at once, then 40 a second, for each path on its own; then 429 in plain text."""

    async def case():
        clock = [0.0]
        async with asked(clock=lambda: clock[0]) as (agent, ask):

            async def many(path, count):
                answers = [await ask(path) for _ in range(count)]
                return [answer[0] for answer in answers].count(200), answers[-1]

            passed, last = await many(agent.relative_uri, 70)
            assert passed == 60
            assert last == (
                429,
                "text/plain; charset=utf-8",
                b"You have reached maximum request limit.",
            )
            assert (await many(f"/v4/{agent.container_id}", 60))[0] == 60
            clock[0] += 0.5
            assert (await many(agent.relative_uri, 30))[0] == 20

    run(case())


@pytest.mark.parametrize("launch_type", ["EC2", "FARGATE"])
@pytest.mark.parametrize("network_mode", ["awsvpc", "bridge", "host"])
def test_metadata_tells_of_the_task(launch_type, network_mode):
    """Container and task documents hold what the agent of that launch type says."""

    async def case():
        task = ecs_agent.Task(launch_type=launch_type, network_mode=network_mode)
        async with asked(task=task) as (agent, ask):
            container = json.loads((await ask(f"/v4/{agent.container_id}"))[2])
            whole = json.loads((await ask(f"/v4/{agent.container_id}/task"))[2])
            return task, container, whole

    task, container, whole = run(case())
    assert whole["TaskARN"] == task.arn
    assert whole["Cluster"].split("/")[-1] == "runners"
    assert (whole["Family"], whole["Revision"]) == ("runner", "7")
    assert (whole["LaunchType"], whole["KnownStatus"]) == (launch_type, "RUNNING")
    assert whole["AvailabilityZone"].startswith(local_aws.REGION)
    assert whole["Containers"] == [container]
    assert container["Networks"][0]["NetworkMode"] == network_mode
    assert container["Labels"]["com.amazonaws.ecs.task-arn"] == task.arn


def test_metadata_of_an_unknown_container_is_a_404():
    """The body is a JSON string, as the agent writes it."""

    async def case():
        async with asked() as (_, ask):
            return [await ask(f"/v4/nobody{rest}") for rest in ("", "/task")]

    for status, kind, body in run(case()):
        assert (status, kind) == (404, "application/json")
        assert json.loads(body).endswith("v3 endpoint ID: nobody")


def test_a_task_is_protected_and_released():
    """PUT and GET answer with a protection object; it ends by itself."""

    async def case():
        now = [1_800_000_000.0]
        async with asked(now=lambda: now[0]) as (agent, ask):
            path = f"/api/{agent.container_id}/task-protection/v1/state"

            async def state(method="GET", **more):
                status, kind, body = await ask(path, method, **more)
                assert (status, kind) == (200, "application/json")
                answer = json.loads(body)["protection"]
                assert list(answer) == ["ExpirationDate", "ProtectionEnabled", "TaskArn"]
                assert answer["TaskArn"] == agent.task.arn
                return answer["ProtectionEnabled"], answer["ExpirationDate"]

            free = (False, None)
            assert await state() == free
            until = (True, "2027-01-15T08:10:00Z")
            wanted = {"ProtectionEnabled": True, "ExpiresInMinutes": 10}
            assert await state("PUT", json=wanted) == until
            assert await state() == until
            assert (await state("PUT", json={"ProtectionEnabled": True}))[1].startswith(
                "2027-01-15T10:00"
            )
            assert await state("PUT", json={"ProtectionEnabled": False}) == free
            assert await state("PUT", json=wanted) == until
            now[0] += 601
            assert await state() == free
            assert json.loads((await ask("/_local/protection"))[2])["ProtectionEnabled"] is False

    run(case())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "decode"),
        (b"[]", "decode"),
        (b'{"ProtectionEnabled": "yes"}', "decode"),
        (b'{"ProtectionEnabled": true, "ExpiresInMinutes": true}', "decode"),
        (b'{"protectionEnabled": true}', "decode"),
        (b'{"ExpiresInMinutes": 5}', "ProtectionEnabled"),
        (b'{"ProtectionEnabled": true, "ExpiresInMinutes": 0}', "2880"),
        (b'{"ProtectionEnabled": true, "ExpiresInMinutes": 2881}', "2880"),
    ],
)
def test_a_wrong_protection_request_is_an_error_object(body, message):
    """What the agent or ECS rejects is a 400 with an error object."""

    async def case():
        async with asked() as (agent, ask):
            path = f"/api/{agent.container_id}/task-protection/v1/state"
            return await ask(path, "PUT", data=body)

    status, kind, answered = run(case())
    assert (status, kind) == (400, "application/json")
    error = json.loads(answered)["error"]
    assert error["Code"] == "InvalidParameterException"
    assert message in error["Message"]


@pytest.mark.parametrize(
    ("mode", "status", "form", "code"),
    [
        ("not-a-service", 200, "failure", "TASK_NOT_VALID"),
        ("denied", 400, "error", "AccessDeniedException"),
        ("throttled", 400, "error", "ThrottlingException"),
        ("late", 504, "error", "RequestCanceled"),
        ("no-role", 403, "error", "AccessDeniedException"),
    ],
)
def test_protection_can_be_in_trouble(mode, status, form, code):
    """A failure comes with 200, an error with its status, each as an object of its own name."""

    async def case():
        async with asked() as (agent, ask):
            await ask("/_local/protection", "PUT", json={"mode": mode, "times": 1})
            path = f"/api/{agent.container_id}/task-protection/v1/state"
            first = await ask(path, "PUT", json={"ProtectionEnabled": True})
            return first, (await ask(path))[0], agent.task.arn

    (answered, _, body), after, arn = run(case())
    answer = json.loads(body)[form]
    assert (answered, after) == (status, 200)
    assert code in (answer.get("Code"), answer.get("Reason"))
    assert answer["Arn"] == arn


def test_a_task_of_no_service_cannot_be_protected():
    """RunTask's tasks get a failure, an unknown container and an odd method an error."""

    async def case():
        async with asked(task=ecs_agent.Task(service=None)) as (agent, ask):
            path = f"/api/{agent.container_id}/task-protection/v1/state"
            return (
                json.loads((await ask(path))[2]),
                (await ask("/api/nobody/task-protection/v1/state"))[0],
                (await ask(path, "POST"))[0],
            )

    answer, unknown, method = run(case())
    assert answer["failure"]["Reason"] == "TASK_NOT_VALID"
    assert (unknown, method) == (404, 405)


@pytest.mark.parametrize("program", [WHOAMI, WHOAMI_AIO], ids=["boto3", "aiobotocore"])
def test_real_sdks_become_the_task_role(aws, started, program, monkeypatch):
    """With nothing but the URI, an SDK's STS call is made as the task role."""
    url = started("-m", "local.ecs_agent", "--aws-endpoint", aws)
    with urllib.request.urlopen(f"{url}/_local/environment") as answer:
        environment = json.load(answer)
    monkeypatch.setenv(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI", environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    role = local_aws.TASK_ROLE.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
    assert child.stdout.startswith(role)
    with urllib.request.urlopen(f"{url}/_local/requests") as answer:
        seen = json.load(answer)
    assert {one["method"] for one in seen} == {"GET"}
    assert seen[-1]["status"] == 200  # an answer that took two seconds is asked for again


def test_the_program_follows_its_options(started):
    """Role, launch type, network mode and service come from the command line."""
    role = "arn:aws:iam::123456789012:role/other"
    options = ("--role-arn", role, "--launch-type", "FARGATE", "--run-task")
    url = started("-m", "local.ecs_agent", "--address", "127.0.0.1:0", *options)
    with urllib.request.urlopen(f"{url}/_local/environment") as answer:
        environment = json.load(answer)
    assert environment["AWS_EXECUTION_ENV"] == "AWS_ECS_FARGATE"
    with urllib.request.urlopen(environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]) as answer:
        assert json.load(answer)["RoleArn"] == role
    with urllib.request.urlopen(environment["ECS_CONTAINER_METADATA_URI_V4"] + "/task") as answer:
        assert re.search("cluster/runners$", json.load(answer)["Cluster"])
    state = environment["ECS_AGENT_URI"] + "/task-protection/v1/state"
    with urllib.request.urlopen(state) as answer:
        assert "failure" in json.load(answer)
