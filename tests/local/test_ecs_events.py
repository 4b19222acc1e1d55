"""The ECS stand-in tells of its tasks; capacity on EC2, roles, definitions; SQS and DynamoDB."""

import asyncio
import json

import boto3
import pytest
from botocore.exceptions import ClientError

from local import aws as stand_in
from local import ecs, sqs
from tests.local.test_ecs import ENDS, NETWORK, RUNNER, described, started, with_client

__all__ = ["with_client"]
KEYS = {
    "aws_access_key_id": "local",
    "aws_secret_access_key": "local",
    "region_name": stand_in.REGION,
}
MACHINES = {
    "capacityProviderStrategy": [{"capacityProvider": "machines"}],
    "networkConfiguration": NETWORK,
}
EXIT = {"containerOverrides": [{"name": "runner", "environment": [{"name": "CODE", "value": "3"}]}]}


def test_each_change_of_a_task_is_told_with_a_version(with_client):
    """As EventBridge passes it on: no tags, ISO times, a version that rises."""

    async def scene(plane, client):
        tags = [{"key": "a", "value": "b"}]
        arn = await started(client, startedBy="me", tags=tags, overrides=EXIT)
        await plane.wait_for(lambda: plane.living() == [])
        told = [event["detail"] for event in plane.events.told]
        statuses = [(each["lastStatus"], each["desiredStatus"]) for each in told]
        assert statuses == [
            ("PROVISIONING", "RUNNING"),
            ("PENDING", "RUNNING"),
            ("RUNNING", "RUNNING"),
            ("RUNNING", "STOPPED"),
            ("STOPPED", "STOPPED"),
        ]
        versions = [each["version"] for each in told]
        assert versions == sorted(set(versions))
        last = plane.events.told[-1]
        assert (last["source"], last["detail-type"]) == ("aws.ecs", "ECS Task State Change")
        assert last["resources"] == [arn] == [last["detail"]["taskArn"]]
        assert last["detail"]["containers"][0]["exitCode"] == 3
        assert last["detail"]["stopCode"] == "EssentialContainerExited"
        assert last["detail"]["stoppedAt"].endswith("Z")
        assert all("tags" not in each for each in told)

    with_client(scene, ENDS)


def test_events_reach_a_queue_and_come_twice_or_never_on_order(aws):
    """In order; a duplicate has the same version."""
    queues = stand_in.make_queues(aws)

    async def scene():
        tell = ecs.send_to_queue(aws, queues.main)
        async with ecs.serving(no_agent, tell=tell) as plane:
            plane.failing_starts = [ecs.CANNOT_PULL]
            plane.events.lose = lambda event: event["detail"]["lastStatus"] == "PENDING"
            plane.events.repeat = lambda event: event["detail"]["lastStatus"] == "STOPPED"
            plane.run_task(dict(RUNNER))
            await plane.wait_for(lambda: plane.living() == [])
            found = []
            while len(found) < 3:
                found += await asyncio.to_thread(receive, aws, queues.main)
        details = [json.loads(each["Body"])["detail"] for each in found]
        assert [each["lastStatus"] for each in details] == ["PROVISIONING", "STOPPED", "STOPPED"]
        assert details[1]["version"] == details[2]["version"]
        assert details[1]["stoppedReason"] == ecs.CANNOT_PULL

    asyncio.run(asyncio.wait_for(scene(), 240))


def test_a_task_has_ended_before_that_is_told():
    """The event comes later: one who looks at a queue waits for it first."""
    told, may_tell = [], asyncio.Event()

    async def tell(event):
        await may_tell.wait()
        told.append(event["detail"]["lastStatus"])

    async def scene():
        async with ecs.serving(no_agent, tell=tell) as plane:
            plane.failing_starts = [ecs.CANNOT_PULL]
            plane.run_task(dict(RUNNER))
            await plane.wait_for(lambda: plane.living() == [])
            waiting = asyncio.create_task(plane.events.wait_until_told())
            await asyncio.wait([waiting], timeout=0)
            assert (waiting.done(), told) == (False, [])
            may_tell.set()
            await waiting
            assert told[-1] == "STOPPED"

    asyncio.run(asyncio.wait_for(scene(), 240))


def no_agent(own, environment):
    """Start no agent: no task of this test comes so far."""
    raise AssertionError


def receive(endpoint, queue):
    """Receive messages; they are deleted."""
    answer = sqs.call(
        endpoint, "ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1
    )
    found = answer.get("Messages", [])
    for each in found:
        sqs.call(endpoint, "DeleteMessage", QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
    return found


def test_a_provider_on_ec2_lets_a_task_wait_for_a_machine(with_client):
    """RunTask tells no want of capacity; the task waits, or is given up with RESOURCE."""

    async def scene(plane, client):
        plane.droughts = [ecs.Drought("machines")]
        plane.machines_come.clear()
        plane.no_machines = [ecs.NO_MACHINE]
        arn = await started(client, **MACHINES)
        (task,) = await described(client, arn)
        assert (task["lastStatus"], task["capacityProviderName"]) == ("PROVISIONING", "machines")
        plane.most_provisioning = 1
        with pytest.raises(ClientError, match="limit on the number of tasks you can provision"):
            await started(client, **MACHINES)
        plane.machines_come.set()
        await plane.wait_for(lambda: plane.living() == [])
        (task,) = await described(client, arn)
        assert (task["stopCode"], task["stoppedReason"]) == ("TaskFailedToStart", ecs.NO_MACHINE)

    with_client(scene)


def test_a_refusal_loses_its_reasons_after_an_hour(with_client):
    """Only their number is remembered then."""

    async def scene(plane, client):
        clock = [1000.0]
        plane._now = lambda: clock[0]
        plane.droughts = [ecs.Drought(times=2)]
        for reasons in ([{"reason": ecs.NO_CAPACITY}], [{}]):
            answer = await client.run_task(**RUNNER, clientToken="t")
            assert (answer["tasks"], answer["failures"]) == ([], reasons)
            clock[0] += 3601

    with_client(scene)


def test_a_role_that_may_not_be_passed_is_refused(with_client):
    """The task's and the execution role both."""

    async def scene(plane, client):
        plane.passable = {stand_in.TASK_ROLE}
        with pytest.raises(ClientError, match=r"iam:PassRole on resource: .*execution"):
            await started(client)
        plane.passable.add(plane.definitions[0].execution_role)
        await started(client)

    with_client(scene)


def test_definitions_are_listed_and_described_with_their_tags(with_client):
    """By prefix of the family; the newest revision is described."""

    async def scene(plane, client):
        plane.definitions = [
            ecs.TaskDefinition("runner-a", 1),
            ecs.TaskDefinition("runner-a", 2, tags={"GH:labels": "linux large"}),
            ecs.TaskDefinition("other"),
        ]
        listed = await client.list_task_definition_families(familyPrefix="runner-")
        assert listed["families"] == ["runner-a"]
        found = await client.describe_task_definition(taskDefinition="runner-a", include=["TAGS"])
        assert found["taskDefinition"]["revision"] == 2
        assert found["tags"] == [{"key": "GH:labels", "value": "linux large"}]

    with_client(scene)


def test_spot_capacity_can_be_taken_away(with_client):
    """The stop code says so."""

    async def scene(plane, client):
        arn = await started(client)
        plane.tasks[0].interrupt()
        await plane.wait_for(lambda: plane.living() == [])
        assert (await described(client, arn))[0]["stopCode"] == "SpotInterruption"

    with_client(scene)


def test_dead_letters_get_what_was_received_too_often(aws):
    """The queue's redrive policy is one that SQS keeps."""
    queues = stand_in.make_queues(aws)
    client = boto3.client("sqs", endpoint_url=aws, **KEYS)
    sqs.send(aws, queues.main, {"poison": True})
    for _ in range(6):
        client.receive_message(QueueUrl=queues.main, VisibilityTimeout=0)
    client.close()
    assert sqs.count(aws, queues.main) == {}
    assert sqs.count(aws, queues.dead) == {"waiting": 1}


def test_the_table_of_launches_is_one_that_a_record_fits_in(aws):
    """Its key is the launch's id."""
    table = stand_in.make_table(aws)
    client = boto3.client("dynamodb", endpoint_url=aws, **KEYS)
    client.put_item(TableName=table, Item={"id": {"S": "one"}})
    client.close()
    assert stand_in.read_table(aws, table) == [{"id": {"S": "one"}}]
