"""What storms stand on: processes that die at any await, and models that refuse as AWS does."""

import asyncio
import itertools
import random
from contextlib import closing
from dataclasses import replace

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from launcher.record.counters import give_place, take_place
from launcher.record.items import update_launch
from launcher.record.launch import Launch
from local import aws as local_aws
from sidecar.net.retry import call_with_retries
from tests.storms import clock
from tests.storms.calls import Weather
from tests.storms.clock import Process
from tests.storms.ecs import Ecs
from tests.storms.sqs import MOST_RECEIVES, Sqs
from tests.storms.table import Table


def make_chance(seed):
    """Make a source of chance."""
    return random.Random(seed)  # noqa: S311  chance, not secrecy


def run(work):
    """Run work in the virtual time of a storm."""
    return clock.run(work, "1", make_chance(1))


def make_weather(rate=0.0):
    """Make a weather without faults."""
    return Weather(make_chance(1), rate)


def code_of(caught):
    """Return the code of a refusal."""
    return caught.value.response["Error"]["Code"]


@pytest.mark.parametrize("steps", range(1, 8))
def test_a_dead_process_does_nothing_more(steps):
    """It runs no `finally`, frees no lock and feels no time-out, wherever it dies; others go on."""
    done = []

    async def work():
        lock = asyncio.Lock()

        async def life():
            try:
                async with asyncio.timeout(60), lock:
                    for number in range(20):
                        done.append(number)
                        await asyncio.sleep(5)
            finally:
                done.append("finally")

        process = Process("one", steps)
        process.spawn(life())
        await process.died.wait()
        await asyncio.sleep(1000)
        return lock.locked(), list(done)

    locked, seen = run(work)
    assert locked
    assert seen == list(range(steps))


def test_a_slow_machine_uses_up_no_patience(monkeypatch):
    """Calls are tried for some seconds of the storm's clock, whatever the machine's own does."""
    leaps = itertools.count(0, 3600)
    monkeypatch.setattr(clock.time, "monotonic", lambda: float(next(leaps)))
    at = []

    async def call():
        at.append(asyncio.get_running_loop().time())
        raise ConnectionError

    def pause(error):
        return 4.0

    async def work():
        with pytest.raises(ConnectionError):
            await call_with_retries(call, pause, seconds=10)

    run(work)
    assert at == [0, 4, 8, 12]


def test_all_tasks_of_a_process_die_with_it():
    """A task that a process has started is part of it."""

    async def work():
        seen = []

        async def child():
            while True:
                await asyncio.sleep(1)
                seen.append(asyncio.get_running_loop().time())

        async def life():
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                group.create_task(child())

        process = Process("one")
        process.spawn(life())
        await asyncio.sleep(3.5)
        process.kill()
        await asyncio.sleep(100)
        return seen

    assert run(work) == [1, 1, 2, 2, 3, 3]


def test_a_lost_answer_belongs_to_work_that_is_done(monkeypatch):
    """The caller gets a time-out, and the item is there."""
    monkeypatch.setattr("tests.storms.calls.FATES", ("lost",))

    async def work():
        table = Table(make_weather(1.0))
        with pytest.raises(ReadTimeoutError):
            await table.put_item(TableName="t", Item={"id": {"S": "a"}})
        return table.items

    assert run(work) == {"a": {"id": {"S": "a"}}}


def test_the_table_refuses_what_its_condition_refuses():
    """A transaction does all or nothing, and says for each step why not."""

    async def work():
        table = Table(make_weather())
        key = {"TableName": "t", "Key": {"id": {"S": "a"}}}
        change = {
            **key,
            "UpdateExpression": "SET #v = :v REMOVE #gone ADD #n :one",
            "ConditionExpression": "attribute_not_exists(#v) OR (#v < :v AND NOT #n = :five)",
            "ExpressionAttributeNames": {"#v": "v", "#n": "n", "#gone": "gone"},
            "ExpressionAttributeValues": {
                ":v": {"N": "1"},
                ":one": {"N": "1"},
                ":five": {"N": "5"},
            },
        }
        await table.update_item(**change)
        put = {"TableName": "t", "Item": {"id": {"S": "b"}}}
        with pytest.raises(ClientError) as caught:
            await table.transact_write_items(TransactItems=[{"Put": put}, {"Update": change}])
        reasons = [reason["Code"] for reason in caught.value.response["CancellationReasons"]]
        return table.items, reasons

    items, reasons = run(work)
    assert items == {"a": {"id": {"S": "a"}, "v": {"N": "1"}, "n": {"N": "1"}}}
    assert reasons == ["None", "ConditionalCheckFailed"]


def test_ecs_remembers_refusals_too():
    """A used client token gives yesterday's answer; with another request it is a conflict."""

    async def work():
        weather = make_weather()
        ecs = Ecs(weather)
        ecs.live = lambda _: asyncio.sleep(10, 0)
        ecs.droughts = [(0.0, 5.0, None)]
        request = {"taskDefinition": "runner:1", "clientToken": "t"}
        first = await ecs.run_task(**request)
        await asyncio.sleep(10)
        again = await ecs.run_task(**request)
        placed = await ecs.run_task(**request | {"clientToken": "u"})
        with pytest.raises(ClientError) as caught:
            await ecs.run_task(taskDefinition="runner:2", clientToken="u")
        return first, again, placed, caught

    first, again, placed, caught = run(work)
    assert first["failures"]
    assert again == first
    assert code_of(caught) == "ConflictException"
    assert caught.value.response["resourceIds"] == [placed["tasks"][0]["taskArn"]]


def test_the_queue_gives_a_message_again_until_it_is_deleted():
    """It comes after its delay, again after its visibility, and at last to the dead letters."""

    async def work():
        sqs = Sqs(make_weather())
        await sqs.send_message(QueueUrl="q", MessageBody='{"kind": "tick"}', DelaySeconds=30)
        times = []
        while not sqs.dead:
            await sqs.wait_visible()
            answer = await sqs.receive_message(QueueUrl="q")
            if answer["Messages"]:
                times.append(int(asyncio.get_running_loop().time()))
        return times

    times = run(work)
    assert times[0] == 30
    assert len(times) == MOST_RECEIVES
    assert {later - sooner for sooner, later in itertools.pairwise(times)} <= {180, 181}


def test_the_table_answers_as_moto_does(aws):
    """Two hundred of the launcher's own writes, good and refused, end alike in both."""
    chance = make_chance(7)
    writes = [_draw_write(chance) for _ in range(200)]

    async def work():
        table, codes = Table(make_weather()), []
        for write in writes:
            try:
                await table.transact_write_items(TransactItems=write)
                codes.append("done")
            except ClientError as error:
                codes.append([it["Code"] for it in error.response["CancellationReasons"]])
        return table.items, codes

    items, codes = run(work)
    assert (items, codes) == _write_to_moto(aws, writes)
    assert "done" in codes
    assert any(code != "done" for code in codes)


def _draw_write(chance):
    launch = replace(
        Launch(f"launch-{chance.randrange(5)}", "small", "{}", 1.5),
        version=chance.randint(1, 4),
        place=chance.choice((None, "arn")),
        counters=chance.choice(((), ("pool/small",))),
        served=chance.random() < 0.5,
    )
    steps = [{"Update": update_launch("launches", launch, 5000.0)}]
    if chance.random() < 0.3:
        steps.append(take_place("launches", "pool/small", 3))
    elif chance.random() < 0.4:
        steps.append(give_place("launches", "pool/small"))
    return steps


def _write_to_moto(url, writes):
    local_aws.make_table(url)
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    with closing(boto3.client("dynamodb", "eu-central-1", endpoint_url=url, **keys)) as client:
        codes = []
        for write in writes:
            try:
                client.transact_write_items(TransactItems=write)
                codes.append("done")
            except ClientError as error:
                codes.append([it["Code"] for it in error.response["CancellationReasons"]])
        items = client.scan(TableName="launches", ConsistentRead=True)["Items"]
    return {item["id"]["S"]: item for item in items}, codes
