"""One record for each launch, however many workers and crashes; judged by moto's DynamoDB."""

import asyncio
import itertools
from contextlib import asynccontextmanager, closing
from dataclasses import replace

import boto3
import pytest

from launcher.record.counters import counter_key
from launcher.record.launch import Launch
from launcher.record.records import Records, make_client
from launcher.record.table import Full, Outdated
from local import aws as local_aws
from local import faults
from local.faults import Rule
from sidecar.aws import calls

TABLE = "launches"
LAUNCH = Launch("job-1", "small", '{"job": 1}', 1000.0)


@pytest.fixture
def table(aws, monkeypatch):
    """Make an empty table; return the endpoint."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.01, longest=0.02)
    )
    local_aws.make_table(aws, TABLE)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", aws)
    return aws


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        """Return the time."""
        return self.time


@asynccontextmanager
async def workers(count=1, clock=None):
    """Yield the records of `count` workers on one connection, with one clock."""
    async with make_client(local_aws.REGION) as client:
        clock = clock or Clock()
        yield [Records(client, TABLE, f"worker-{each}", now=clock) for each in range(count)]


def run(coroutine):
    """Run a test's coroutine, for 120 s at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 120))


def test_of_twenty_workers_one_gets_the_launch(table):
    """The others get nothing, and the record is there once."""

    async def race():
        async with workers(20) as all_workers:
            return await asyncio.gather(*[each.claim(LAUNCH) for each in all_workers])

    won = [launch for launch in run(race()) if launch]
    assert len(won) == 1
    assert won[0].version == 1


def test_what_is_written_is_read_again(table):
    """Every field, with its type."""

    async def life():
        async with workers() as (records,):
            launch = await records.claim(LAUNCH)
            launch = launch.with_request('{"count": 1}').placed("arn:task/1").stolen("by 9")
            launch = replace(
                launch.next_generation("r-1-1"), runner_id=7, online=True, handed_over=True
            )
            return await records.save(launch), await records.read(LAUNCH.id)

    written, found = run(life())
    assert found == written
    assert (found.reasons, found.generation, found.version) == (("by 9",), 1, 2)


def test_a_dead_worker_s_launch_is_adopted_once(table):
    """Only after its lease has ended, by one of two, with what was stored before the crash."""

    async def life():
        clock = Clock()
        async with workers(3, clock) as (dead, *others):
            launch = await dead.claim(LAUNCH)
            launch = await dead.save(launch.with_request("sent"))
            held = await asyncio.gather(*[each.claim(LAUNCH) for each in others])
            clock.time += 61
            adopted = await asyncio.gather(*[each.claim(LAUNCH) for each in others])
            with pytest.raises(Outdated):
                await dead.save(launch.placed("arn:task/1"))
            return held, [each for each in adopted if each]

    held, adopted = run(life())
    assert held == [None, None]
    assert len(adopted) == 1
    assert adopted[0].with_request("another").request == "sent"


def test_a_released_launch_is_free_at_once(table):
    """And one worker does not get its own launch twice at a time."""

    async def life():
        async with workers(2) as (first, second):
            launch = await first.claim(LAUNCH)
            assert await first.claim(LAUNCH) is None
            await first.release(launch)
            return await second.claim(LAUNCH)

    assert run(life()).lease_holder.startswith("worker-1/")


def test_a_maximum_holds_with_many_workers(table):
    """Ten launches want five places at once; places that are given back are taken again."""

    async def life():
        async with workers(10) as all_workers:

            async def start(number, records):
                launch = await records.claim(replace(LAUNCH, id=f"job-{number}"))
                try:
                    return records, await records.take_places(launch, {"pool/small": 5})
                except Full:
                    return records, None

            done = await asyncio.gather(*itertools.starmap(start, enumerate(all_workers)))
            counted = [pair for pair in done if pair[1]]
            records, launch = counted[0]
            full = await records.count("pool/small")
            assert await records.take_places(launch, {"pool/small": 5}) == launch
            launch = await records.give_places(launch)
            assert await records.give_places(launch) == launch
            return len(counted), full, await records.count("pool/small")

    assert run(life()) == (5, 5, 4)


def test_several_counters_are_taken_together_or_not_at_all(table):
    """The account is full: the pool's counter stays as it was."""

    async def life():
        async with workers() as (records,):
            first = await records.claim(LAUNCH)
            await records.take_places(first, {"account": 1})
            second = await records.claim(replace(LAUNCH, id="job-2"))
            with pytest.raises(Full, match="account has 1, its maximum"):
                await records.take_places(second, {"pool/small": 5, "account": 1})
            return await records.count("pool/small"), (await records.read("job-2")).counters

    assert run(life()) == (0, ())


def test_a_counter_that_somebody_emptied_does_not_keep_a_launch_from_ending(table):
    """It never goes below zero."""

    async def life():
        async with workers() as (records,):
            launch = await records.claim(LAUNCH)
            launch = await records.take_places(launch, {"pool/small": 5})
            with closing(boto3.client("dynamodb", local_aws.REGION)) as client:
                client.delete_item(TableName=TABLE, Key=counter_key("pool/small"))
            launch = await records.give_places(launch)
            return launch.counters, await records.count("pool/small")

    assert run(life()) == ((), 0)


@pytest.mark.parametrize("operation", ["UpdateItem", "TransactWriteItems"])
@pytest.mark.parametrize("kind", ["truncate", "status"])
def test_a_lost_answer_is_settled(table, monkeypatch, operation, kind):
    """The write succeeded or not: it is made once, and counted once."""

    async def life():
        async with faults.serving(table) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", proxy.url)
            proxy.add(Rule(kind, target=operation, status=500, times=1))
            async with workers() as (records,):
                launch = await records.claim(LAUNCH)
                launch = await records.take_places(launch, {"pool/small": 1})
                return launch == await records.read(LAUNCH.id), await records.count("pool/small")

    assert run(life()) == (True, 1)


def test_a_newer_version_s_attributes_stay(table):
    """Two versions of the launcher work side by side on one table."""

    async def life():
        async with workers() as (records,):
            launch = await records.claim(LAUNCH)
            with closing(boto3.client("dynamodb", endpoint_url=table)) as client:
                key = {"id": {"S": "launch#job-1"}}
                client.update_item(
                    TableName=TABLE,
                    Key=key,
                    UpdateExpression="SET tomorrow = :x",
                    ExpressionAttributeValues={":x": {"S": "kept"}},
                )
                await records.save(launch.placed("arn:task/1"))
                return client.get_item(TableName=TABLE, Key=key)["Item"]

    item = run(life())
    assert item["tomorrow"] == {"S": "kept"}
    assert item["expires"] == {"N": str(1000 + 3 * 86_400)}


def test_steps_rounds_and_tries_change_the_client_token():
    """Each forgets the request of the one before; a try forgets the task too."""
    launch = LAUNCH.with_request("a").placed("arn:task/1")
    step = launch.next_step("no capacity")
    later = step.with_request("b").next_round("none left")
    again = later.placed("arn:task/1").next_generation("r").next_try("it ended")
    tokens = [each.client_token_parts[1:] for each in (launch, step, later, again)]
    assert tokens == [(1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 1, 0)]
    assert (step.request, later.request, again.request) == (None, None, None)
    assert (again.place, again.generation, again.runner_name) == (None, 0, None)
    assert again.reasons == ("no capacity", "none left", "it ended")


def test_reasons_are_bounded():
    """A job that waits a day for capacity must not fill its record."""
    launch = LAUNCH
    for number in range(100):
        launch = launch.with_reason(f"{number} " + "x" * 1000).with_reason(f"{number} " + "x" * 999)
    assert len(launch.reasons) == 20
    assert max(map(len, launch.reasons)) == 300


def test_a_task_tells_its_launch(table):
    """Events name tasks; a task that is unknown has none."""

    async def life():
        async with workers() as (records,):
            await records.index("0a1b", "job-1")
            await records.index("0a1b", "job-2")
            return await records.find("0a1b"), await records.find("ffff")

    assert run(life()) == ("job-2", None)


def test_two_launches_are_written_together_or_not_at_all(table):
    """Whose the tasks are too; of two workers one is told that its copy is outdated."""

    async def life():
        async with workers(2) as (records, other):
            first = await records.claim(LAUNCH)
            second = await records.claim(replace(LAUNCH, id="job-2"))
            swapped = [first.placed("arn:task/2"), second.placed("arn:task/1")]
            written = await records.save_together(swapped, {"2": "job-1", "1": "job-2"})
            with pytest.raises(Outdated):
                await other.save_together([written[0], second], {"1": "job-9"})
            return (
                [(await records.read(each)).place for each in ("job-1", "job-2")],
                [await records.find(task) for task in ("1", "2")],
                written[0] == await records.read("job-1"),
            )

    assert run(life()) == (["arn:task/2", "arn:task/1"], ["job-2", "job-1"], True)


def test_a_pool_counts_its_faults_and_one_worker_stops_it(table):
    """A success forgets them."""

    async def life():
        async with workers(2) as (records, other):
            counted = [await records.pools.count_failure("small") for _ in range(3)]
            seen = await records.pools.read("small")
            stopped = await asyncio.gather(
                records.pools.stop("small", seen, 1060.0), other.pools.stop("small", seen, 1060.0)
            )
            after = await records.pools.read("small")
            again = await records.pools.stop("small", after, 1200.0)
            await records.pools.recover("small")
            return counted, sorted(stopped), after, again, await records.pools.read("small")

    counted, stopped, after, again, recovered = run(life())
    assert (counted, stopped, again) == ([1, 2, 3], [False, True], True)
    assert (after.failures, after.stopped_until) == (3, 1060.0)
    assert (recovered.failures, recovered.stopped_until) == (0, 0.0)


def test_the_oldest_launch_waits_first(table):
    """A younger one never goes before it, until it has gone or its time is over."""

    async def life():
        clock = Clock()
        async with workers(1, clock) as (records,):
            pools = records.pools
            first = [
                await pools.wait_first("small", "b", 20.0, 1010.0),
                await pools.wait_first("small", "c", 30.0, 1010.0),
                await pools.wait_first("small", "a", 10.0, 1010.0),
                await pools.wait_first("small", "a", 10.0, 1020.0),
            ]
            await pools.stop_waiting("small", "c")
            kept = (await pools.read("small")).oldest
            await pools.stop_waiting("small", "a")
            gone = (await pools.read("small")).oldest
            await pools.wait_first("small", "b", 20.0, 1010.0)
            clock.time = 1011.0
            first.append(await pools.wait_first("small", "d", 40.0, 1100.0))
            return first, kept, gone

    assert run(life()) == ([True, False, True, True, True], "a", None)


def test_an_unwritten_pool_has_no_faults(table):
    """Reading makes no item."""

    async def life():
        async with workers() as (records,):
            return await records.pools.read("new")

    assert run(life()).failures == 0
