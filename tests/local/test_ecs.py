"""The stand-in for ECS's control plane, judged by AWS's own libraries."""

import asyncio
import sys
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import boto3
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from local import agent, aws, ecs
from tests.support.loops import run

KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": aws.REGION}
RUNNER = {"cluster": "runners", "taskDefinition": "runner"}
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-0"]}}
SPOT = [{"capacityProvider": "FARGATE_SPOT"}]
WAITS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print('{"event": "ready"}', flush=True)
while True: time.sleep(1)
"""
IGNORES = WAITS.replace("lambda *_: sys.exit(7)", "signal.SIG_IGN")
ENDS = "import os; raise SystemExit(int(os.environ['CODE']))"


@asynccontextmanager
async def control_plane(tmp_path, program=WAITS):
    """Serve ECS whose tasks run `program` instead of an agent; yields it and a client of it."""

    def start(own, environment):
        env = {**agent.base_environment(), **own.environment, **environment}
        return agent.AgentProcess.start((sys.executable, "-c", program), env, tmp_path)

    async with (
        ecs.serving(start) as plane,
        get_session().create_client("ecs", endpoint_url=plane.url, **KEYS) as client,
    ):
        yield plane, client


@pytest.fixture
def with_client(tmp_path):
    """Give what runs a scene with the control plane and a client of it."""

    def play(scene, program=WAITS):
        async def live():
            async with control_plane(tmp_path, program) as (plane, client):
                await scene(plane, client)

        run("asyncio", live())

    return play


async def started(client, **more):
    """Run one task; returns its ARN."""
    answer = await client.run_task(**{**RUNNER, **more})
    assert answer["failures"] == []
    (task,) = answer["tasks"]
    return task["taskArn"]


async def described(client, *arns):
    """Describe tasks."""
    answer = await client.describe_tasks(cluster="runners", tasks=list(arns), include=["TAGS"])
    return answer["tasks"]


def test_a_task_lives_and_its_exit_code_is_reported(with_client):
    """PROVISIONING, PENDING, RUNNING, STOPPED; the process is told what the overrides set."""

    async def scene(plane, client):
        override = {"name": "runner", "environment": [{"name": "CODE", "value": "15"}]}
        plane.may_run.clear()
        arn = await started(client, overrides={"containerOverrides": [override]})
        assert (await described(client, arn))[0]["lastStatus"] == "PROVISIONING"
        plane.may_run.set()
        await plane.wait_for(lambda: plane.living() == [])
        (task,) = await described(client, arn)
        assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "EssentialContainerExited")
        assert task["containers"][0]["exitCode"] == 15

    with_client(scene, ENDS)


@pytest.mark.parametrize(("program", "code"), [(WAITS, 7), (IGNORES, 137)])
def test_a_stop_is_sigterm_and_then_sigkill(with_client, program, code):
    """After the stop timeout; the reason is the caller's, and the tags are gone."""

    async def scene(plane, client):
        plane.stop_timeout = 0.5 if program is IGNORES else 30.0
        arn = await started(client, tags=[{"key": "a", "value": "b"}])
        await plane.wait_for(lambda: plane.tasks[0].process)
        await plane.tasks[0].process.wait_for_event("ready")
        await client.tag_resource(resourceArn=arn, tags=[{"key": "c", "value": "d"}])
        (task,) = await described(client, arn)
        assert {tag["key"]: tag["value"] for tag in task["tags"]} == {"a": "b", "c": "d"}
        await client.stop_task(cluster="runners", task=arn, reason="not needed")
        await plane.wait_for(lambda: plane.living() == [])
        (task,) = await described(client, arn)
        assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "not needed")
        assert task["containers"][0]["exitCode"] == code
        assert "tags" not in task

    with_client(scene, program)


def test_a_task_that_cannot_start_has_no_exit_code(with_client):
    """Its reason says why; a missing exit code is no 0."""

    async def scene(plane, client):
        plane.failing_starts = [ecs.CANNOT_PULL]
        arn = await started(client)
        await plane.wait_for(lambda: plane.living() == [])
        (task,) = await described(client, arn)
        assert (task["stopCode"], task["stoppedReason"]) == ("TaskFailedToStart", ecs.CANNOT_PULL)
        assert "exitCode" not in task["containers"][0]

    with_client(scene)


def test_a_client_token_gives_the_same_task_again(with_client):
    """The same request; another one is a conflict that names the task."""

    async def scene(plane, client):
        arn = await started(client, clientToken="t", startedBy="a")
        assert await started(client, clientToken="t", startedBy="a") == arn
        with pytest.raises(ClientError, match="already in use with a different RunTask") as failed:
            await started(client, clientToken="t", startedBy="b")
        assert failed.value.response["Error"]["Code"] == "ConflictException"
        assert failed.value.response["resourceIds"] == [arn]
        assert len(plane.tasks) == 1
        assert await started(client, clientToken="u", startedBy="a") != arn

    with_client(scene)


def test_a_stopped_task_comes_back_by_its_token(with_client):
    """As ARN and status, until an hour after its end."""

    async def scene(plane, client):
        clock = [1000.0]
        plane._now = lambda: clock[0]
        arn = await started(client, clientToken="t")
        await client.stop_task(cluster="runners", task=arn)
        await plane.wait_for(lambda: plane.living() == [])
        (task,) = (await client.run_task(**RUNNER, clientToken="t"))["tasks"]
        assert task == {"taskArn": arn, "lastStatus": "STOPPED"}
        clock[0] += 3601
        assert await started(client, clientToken="t") != arn

    with_client(scene)


def test_a_client_token_remembers_a_refusal(with_client):
    """When there is capacity again the same token still answers that there is none."""

    async def scene(plane, client):
        wanted = {"networkConfiguration": NETWORK, "capacityProviderStrategy": SPOT}
        plane.droughts = [ecs.Drought("FARGATE_SPOT", times=1)]
        for _ in range(2):
            answer = await client.run_task(**RUNNER, **wanted, clientToken="t")
            assert answer["tasks"] == []
            assert answer["failures"] == [{"reason": ecs.NO_CAPACITY}]
        arn = await started(client, **wanted, clientToken="u")
        assert (await described(client, arn))[0]["capacityProviderName"] == "FARGATE_SPOT"

    with_client(scene)


def override(**more):
    """Make overrides of one container."""
    return {"containerOverrides": [{"name": "runner", **more}]}


@pytest.mark.parametrize(
    ("wanted", "kind", "words"),
    [
        ({"cluster": "other"}, "ClusterNotFoundException", "Cluster not found"),
        ({"taskDefinition": "runner:9"}, "ClientException", "TaskDefinition not found"),
        ({"count": 11}, "InvalidParameterException", "Count"),
        ({"startedBy": "dependabot[bot]"}, "InvalidParameterException", "startedBy"),
        ({"clientToken": "x" * 65}, "InvalidParameterException", "clientToken"),
        (
            {"overrides": override(environment=[{"name": "A", "value": "x" * 8192}])},
            "InvalidParameterException",
            "8192",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "other"}]}},
            "InvalidParameterException",
            "not a container",
        ),
        (
            {"launchType": "FARGATE", "capacityProviderStrategy": SPOT},
            "InvalidParameterException",
            "both",
        ),
        ({"capacityProviderStrategy": SPOT}, "InvalidParameterException", "Network Config"),
        (
            {"capacityProviderStrategy": [{"capacityProvider": "none"}]},
            "InvalidParameterException",
            "provider was not found",
        ),
    ],
)
def test_what_ecs_refuses_is_refused(with_client, wanted, kind, words):
    """With ECS's error, and nothing is started."""

    async def scene(plane, client):
        with pytest.raises(ClientError, match=words) as failed:
            await client.run_task(**{**RUNNER, **wanted})
        assert failed.value.response["Error"]["Code"] == kind
        assert plane.tasks == []

    with_client(scene)


def test_tasks_are_listed_by_who_started_them(with_client):
    """That filter stands alone and shows running tasks only."""

    async def scene(plane, client):
        first = await started(client, startedBy="a")
        second = await started(client, startedBy="b")
        list_ = partial(client.list_tasks, cluster="runners")
        assert (await list_(startedBy="a"))["taskArns"] == [first]
        assert (await list_(family="runner"))["taskArns"] == [first, second]
        with pytest.raises(ClientError, match="only filter"):
            await list_(startedBy="a", family="runner")
        await client.stop_task(cluster="runners", task=first)
        assert (await list_(startedBy="a"))["taskArns"] == []

    with_client(scene)


def test_what_is_not_known_is_missing(with_client):
    """So is a new task for a moment; to stop it is an error."""

    async def scene(plane, client):
        arn = await started(client)
        plane.missing = 1
        assert await described(client, arn) == []
        assert len(await described(client, arn)) == 1
        answer = await client.describe_tasks(cluster="runners", tasks=["none"])
        assert answer["failures"] == [{"arn": "none", "reason": "MISSING"}]
        with pytest.raises(ClientError, match="referenced task was not found"):
            await client.stop_task(cluster="runners", task="none")

    with_client(scene)


def test_another_library_and_an_unsigned_call(with_client):
    """boto3 reads its answers too; a call without a signature is refused."""

    async def scene(plane, client):
        del client
        with_boto = boto3.client("ecs", endpoint_url=plane.url, **KEYS)
        answer = await asyncio.to_thread(with_boto.run_task, **RUNNER, count=2)
        assert len(answer["tasks"]) == len(plane.tasks) == 2
        with_boto.close()
        headers = {"X-Amz-Target": ecs.TARGET + "RunTask"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(plane.url, headers=headers, data=b"{}") as refused,
        ):
            assert refused.status == 400

    with_client(scene)
