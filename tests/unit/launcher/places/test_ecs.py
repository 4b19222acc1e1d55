"""Tasks of ECS: what is asked, and what each answer means."""

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest
from botocore.exceptions import ClientError

from launcher.identity import client_token, task_id
from launcher.places import Later, Refused, Started, Why
from launcher.places.ecs import Destination, Ecs, _read_answer, _translate, make_request
from local import agent, aws, ecs, faults
from sidecar.aws import calls
from sidecar.aws.calls import TransientError
from tests.support.loops import run

WAITS = "import time\nwhile True: time.sleep(1)"
DESTINATION = Destination("runners", "runner", environment=(("A", "b"),))


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Give dummy credentials and short pauses."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.02, longest=0.05)
    )


@asynccontextmanager
async def place(monkeypatch, tmp_path, *rules):
    """Yield ECS, and a client of it; `rules` make its calls fail."""

    def start(own, environment):
        env = {**agent.base_environment(), **environment}
        return agent.AgentProcess.start((sys.executable, "-c", WAITS), env, tmp_path)

    async with (
        ecs.serving(start) as plane,
        faults.serving(plane.url, rules=rules) as front,
        Ecs("runners", "runner", aws.REGION) as client,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", front.url)
        yield plane, client


def request(number=1, step=0, destination=DESTINATION, started_by="runner-launcher/x"):
    """Make a request of RunTask."""
    return make_request(
        destination, client_token("id", number, 1, step), started_by, {"k": "v"}, step
    )


def test_a_request_is_the_same_each_time():
    """It holds one task, who started it, its tags, and no secret, time or chance."""
    made = request()
    assert made == request()
    assert (made["count"], made["startedBy"]) == (1, "runner-launcher/x")
    assert made["tags"] == [{"key": "k", "value": "v"}]
    (container,) = made["overrides"]["containerOverrides"]
    assert container == {"name": "runner", "environment": [{"name": "A", "value": "b"}]}
    assert not {"launchType", "capacityProviderStrategy", "networkConfiguration"} & set(made)


def test_capacity_providers_launch_type_and_network_are_asked_for():
    """One provider in each step, in order."""
    both = Destination("c", "t", capacity_providers=("FARGATE_SPOT", "FARGATE"), subnets=("s",))
    assert both.steps == 2
    providers = [
        request(step=step, destination=both)["capacityProviderStrategy"][0]["capacityProvider"]
        for step in range(2)
    ]
    assert providers == ["FARGATE_SPOT", "FARGATE"]
    network = request(destination=both)["networkConfiguration"]["awsvpcConfiguration"]
    assert network == {"subnets": ["s"], "securityGroups": [], "assignPublicIp": "DISABLED"}
    assert request(destination=Destination("c", "t", launch_type="EC2"))["launchType"] == "EC2"


def test_a_task_is_started_looked_at_found_and_stopped(monkeypatch, tmp_path):
    """To stop what is gone is no error; what ECS does not know is left out."""

    async def life():
        async with place(monkeypatch, tmp_path) as (plane, client):
            placed = await client.start(request())
            assert await client.start(request()) == placed
            await plane.wait_for(lambda: plane.tasks[0].process)
            assert await client.find("runner-launcher/x") == [placed.task]
            looked = await client.look([placed.task, "unknown"])
            assert set(looked) == {task_id(placed.task)}
            state = looked[task_id(placed.task)]
            assert (state.status, state.stopping, state.exit_code) == ("RUNNING", False, None)
            await client.stop(placed.task, "x" * 300)
            await plane.wait_for(lambda: plane.living() == [])
            state = (await client.look([placed.task]))[task_id(placed.task)]
            assert (state.ended, state.exit_code) == (True, 143)
            assert state.reason.startswith("UserInitiated: xxx")
            await client.stop("unknown", "gone")

    run("asyncio", life())


def test_a_task_that_another_request_started_is_adopted(monkeypatch, tmp_path):
    """The same token with other settings: ECS names the task in its conflict."""

    async def life():
        async with place(monkeypatch, tmp_path) as (plane, client):
            first = await client.start(request())
            again = await client.start(request(started_by="runner-launcher/y"))
            assert again == Started(first.task, adopted=True)
            plane.droughts = [ecs.Drought(times=1)]
            assert (await client.start(request(2))).why is Why.CAPACITY
            refused = await client.start(request(2, started_by="runner-launcher/y"))
            assert refused.why is Why.CAPACITY
            assert len(plane.tasks) == 1

    run("asyncio", life())


def test_a_lost_answer_is_asked_for_again(monkeypatch, tmp_path):
    """With the same request, so that there is one task."""

    async def life():
        rule = faults.Rule("close", target="RunTask", forward=True, times=2)
        async with place(monkeypatch, tmp_path, rule) as (plane, client):
            placed = await client.start(request())
            assert [task.arn for task in plane.tasks] == [placed.task]

    run("asyncio", life())


def test_an_outcome_that_stays_unknown_is_transient(monkeypatch, tmp_path):
    """The caller keeps the request and sends it again."""

    async def life():
        rule = faults.Rule("status", status=503, target="RunTask")
        async with place(monkeypatch, tmp_path, rule) as (_, client):
            with pytest.raises(TransientError):
                await client.start(request())

    run("asyncio", life())


def test_a_throttle_is_later(monkeypatch, tmp_path):
    """Nothing was started, and the same request may be sent again."""

    async def life():
        rule = faults.Rule("status", error="ThrottlingException", target="RunTask")
        async with place(monkeypatch, tmp_path, rule) as (plane, client):
            assert (await client.start(request())).why is Why.THROTTLE
            assert plane.tasks == []

    run("asyncio", life())


@pytest.mark.parametrize(
    ("reason", "kind", "why"),
    [
        (ecs.NO_CAPACITY, Later, Why.CAPACITY),
        ("RESOURCE:MEMORY", Later, Why.CAPACITY),
        ("AGENT", Later, Why.CAPACITY),
        (
            "You've reached the limit on the number of vCPUs you can run concurrently",
            Later,
            Why.QUOTA,
        ),
        ("ATTRIBUTE", Refused, None),
        ("MISSING", Refused, None),
        ("INACTIVE", Refused, None),
    ],
)
def test_each_failure_has_its_meaning(reason, kind, why):
    """They come with a 200."""
    found = _read_answer({"tasks": [], "failures": [{"arn": "x", "reason": reason}]})
    assert type(found) is kind
    assert getattr(found, "why", None) == why
    assert reason in found.reason


def test_no_task_and_no_failure_is_no_task():
    """It is asked again, later."""
    assert _read_answer({"tasks": [], "failures": []}).why is Why.CAPACITY


DENIED = "User: arn:aws:sts::1:x is not authorized to perform: iam:PassRole on resource: y"


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        ("AccessDeniedException", DENIED, Refused, "needs iam:PassRole"),
        (
            "AccessDeniedException",
            f"{DENIED} with an explicit deny in a service control policy",
            Refused,
            "denied by a service control policy (needs iam:PassRole)",
        ),
        (
            "InvalidParameterException",
            "Unable to assume the service linked role. Please verify that the ECS role exists.",
            Refused,
            "service linked role",
        ),
        ("ClusterNotFoundException", "Cluster not found.", Refused, "LAUNCHER_CLUSTER"),
        ("ClientException", "TaskDefinition not found.", Refused, "LAUNCHER_TASK_DEFINITION"),
        ("InvalidParameterException", "No Container Instances", Refused, "No Container"),
        ("InvalidParameterException", "ThrottlingException: Rate exceeded", Later, "Rate"),
        (
            "ClientException",
            "You have too many tasks in PROVISIONING state.",
            Later,
            "PROVISIONING",
        ),
        ("LimitExceededException", "The limit was exceeded", Later, "limit"),
        ("BlockedException", "x", Refused, "support"),
    ],
)
def test_each_error_has_its_meaning(code, message, kind, words):
    """A refusal names what to change; a throttle is known in another error's coat."""
    found = _translate(ClientError({"Error": {"Code": code, "Message": message}}, "RunTask"))
    assert type(found) is kind
    assert words in found.reason


def test_what_all_calls_have_in_common_is_left_to_them():
    """An expired token, for example."""
    error = ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "x"}}, "RunTask")
    assert _translate(error) is None


def test_a_look_takes_a_hundred_tasks_a_call(monkeypatch, tmp_path):
    """As many as ECS describes at once."""

    async def life():
        async with place(monkeypatch, tmp_path) as (plane, client):
            await client.look([f"task-{number}" for number in range(150)])
            assert [len(each["tasks"]) for each in plane.asked("DescribeTasks")] == [100, 50]
            assert await client.look([]) == {}

    asyncio.run(life())
