"""The queue: later is a new message, what fails is left or put off; judged by moto's SQS."""

import asyncio
import json
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

import boto3
import pytest
from structlog.testing import capture_logs

from launcher.demand import queue as queues
from launcher.demand.message import find_group, make_request, read_message
from launcher.demand.queue import Message, Poison, Queue, process, take
from local import aws as local_aws
from local import faults
from local.faults import Rule
from sidecar.aws import calls
from sidecar.aws.calls import AccessDenied, NotFound, RateLimited, TransientError

BODY = '{"repository":"octo/repo","job_id":1}'


@pytest.fixture
def url(aws, monkeypatch):
    """Make an empty queue, whose messages come again at once; return its URL."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALOCAL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", aws)
    growing = calls.growing
    monkeypatch.setattr(
        calls, "growing", lambda kinds, **_: growing(kinds, first=0.01, longest=0.02)
    )
    with closing(boto3.client("sqs", endpoint_url=aws)) as sqs:
        made = sqs.create_queue(QueueName="demand", Attributes={"VisibilityTimeout": "0"})
    return made["QueueUrl"]


@asynccontextmanager
async def opened(url, **more):
    """Yield the queue's client."""
    async with Queue(url, local_aws.REGION, **more) as queue:
        yield queue


def run(coroutine):
    """Run a test's coroutine, for 120 s at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 120))


@dataclass
class Later:
    """A worker's answer."""

    seconds: float
    reason: str = "no capacity"


class Answering:
    """A worker that answers what it is given, and keeps what it was asked."""

    def __init__(self, answer=None):
        self.answer = answer
        self.asked = []

    async def handle(self, message):
        """Answer, or raise."""
        self.asked.append(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_what_is_sent_is_received_and_deleted_once(url):
    """A new message was first seen when it was sent; deleting it twice is no error."""

    async def life():
        async with opened(url) as queue:
            before = time.time()
            await queue.send(BODY)
            (received,) = await queue.receive(wait=0)
            await queue.delete(received)
            await queue.delete(received)
            return before, received.message, await queue.receive(wait=0)

    before, message, rest = run(life())
    assert (message.body, message.count, message.received) == (BODY, 0, 1)
    assert message.first_seen == message.sent >= int(before)
    assert rest == []


def test_later_is_a_new_message_that_keeps_its_first_time(url):
    """It counts its delays, and its count of receives begins anew; the old one is deleted."""

    async def life():
        async with opened(url) as queue:
            await queue.send(BODY, first_seen=1000.5, count=3)
            await queue.receive(wait=0)
            (again,) = await queue.receive(wait=0)
            assert again.message.received == 2
            begun = time.time()
            assert await process(queue, again, Answering(Later(1)))
            # moto holds a delayed message back as SQS does: nothing is to be had before.
            (later,) = await queue.receive(wait=5)
            return time.time() - begun, later.message, await queue.receive(wait=0)

    passed, message, rest = run(life())
    assert passed >= 0.99
    assert (message.first_seen, message.count, message.received) == (1000.5, 4, 1)
    assert [each.message.received for each in rest] == [2]


def test_a_delay_is_cut_to_what_sqs_takes():
    """And repositories are served in turn, by the groups of the messages."""
    request = make_request("url", BODY, delay=90_000, first_seen=1.0, count=2)
    assert (request["DelaySeconds"], request["MessageGroupId"]) == (900, "octo/repo")
    long = find_group(f'{{"repository":"{"x" * 100}/{"y" * 100}"}}')
    assert len(long) == 64
    assert [find_group(text) for text in ("[]", "no JSON", '{"kind":"tick"}')] == [None] * 3
    assert "MessageGroupId" not in make_request("url", '{"kind":"tick"}')


@pytest.mark.parametrize("value", ["", "x", "-1", "nan", "inf", None])
def test_an_attribute_that_is_no_number_is_missing(value):
    """The message counts as new."""
    numbers = {"first_seen": value, "count": value}
    message = read_message("{}", numbers, {"SentTimestamp": "5000", "ApproximateReceiveCount": "x"})
    assert message == Message("{}", 5.0, 0, 1, 5.0)


@pytest.mark.parametrize("error", [Poison("not JSON"), KeyError("bug")])
def test_poison_and_a_crash_leave_the_message(url, error):
    """SQS gives it out again, and counts; its dead letters get it in the end."""

    async def life():
        async with opened(url) as queue:
            await queue.send(BODY)
            (received,) = await queue.receive(wait=0)
            assert not await process(queue, received, Answering(error))
            return (await queue.receive(wait=0))[0].message

    assert run(life()).received == 2


def test_only_poison_gets_to_the_dead_letters(url):
    """After a few receives; a message that is put off as often begins anew each time."""

    class Mixed:
        async def handle(self, message):
            if message.body == "poison":
                raise Poison("not JSON")
            return Later(0.1) if message.count < 4 else None

    endpoint = url.rpartition("/")[0].rpartition("/")[0]
    with closing(boto3.client("sqs", endpoint_url=endpoint)) as sqs:
        dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
        wanted = ["QueueArn"]
        found = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=wanted)["Attributes"]
        policy = {"deadLetterTargetArn": found["QueueArn"], "maxReceiveCount": 3}
        attributes = {"RedrivePolicy": json.dumps(policy)}
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)

    async def life():
        async with opened(url) as queue, opened(dead) as dead_letters:
            await queue.send("poison")
            await queue.send(BODY)
            done, letters = 0, []
            while not done or not letters:
                for received in await queue.receive(wait=1):
                    handled = await process(queue, received, Mixed())
                    done += handled and received.message.count == 4
                letters += await dead_letters.receive(wait=0)
            return [letter.message.body for letter in letters], await queue.receive(wait=0)

    assert run(life()) == (["poison"], [])


def test_an_error_that_may_pass_never_leads_to_the_dead_letters(monkeypatch):
    """The message is put off, longer each time, for as long as its job may be queued."""

    class Sent:
        def __init__(self):
            self.delays = []

        async def send(self, body, *, delay, first_seen, count):
            assert body == BODY
            self.delays.append((delay, first_seen, count))

    async def life():
        queue, worker = Sent(), Answering(TransientError("DynamoDB answers 500"))
        for count in (0, 1, 2, 50):
            assert await take(queue, Message(BODY, 1000.0, count), worker, lambda: 2000.0)
        late = 1000.0 + queues.GIVEN_UP + 1
        assert not await take(queue, Message(BODY, 1000.0, 9), worker, lambda: late)
        return queue.delays

    assert run(life()) == [(5, 1000.0, 1), (10, 1000.0, 2), (20, 1000.0, 3), (900, 1000.0, 51)]


def test_the_old_message_stays_where_the_new_one_cannot_be_sent(url, monkeypatch):
    """Nothing is lost."""

    async def life():
        async with faults.serving(url.rpartition("/")[0].rpartition("/")[0]) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", proxy.url)
            async with opened(url, timeout=0.05) as queue:
                await queue.send(BODY)
                (received,) = await queue.receive(wait=0)
                proxy.add(Rule("status", target="SendMessage", status=500))
                with capture_logs() as events:
                    assert not await process(queue, received, Answering(Later(5)))
                return events, (await queue.receive(wait=0))[0].message.received

    events, received = run(life())
    assert received == 2
    assert [event["event"] for event in events if event["event"].startswith("message.")] == [
        "message.put_off",
        "message.failed",
    ]


@pytest.mark.parametrize("kind", ["truncate", "status"])
def test_a_lost_answer_is_asked_for_again(url, monkeypatch, kind):
    """The message may be there twice: it is never lost."""

    async def life():
        async with faults.serving(url.rpartition("/")[0].rpartition("/")[0]) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", proxy.url)
            proxy.add(Rule(kind, target="SendMessage", status=500, times=1))
            async with opened(url) as queue:
                await queue.send(BODY)
                return await queue.receive(wait=0)

    assert {each.message.body for each in run(life())} == {BODY}


ERRORS = {
    "AccessDeniedException": (AccessDenied, r"access denied \(needs sqs:SendMessage\)"),
    "AWS.SimpleQueueService.NonExistentQueue": (NotFound, r"no such queue \(LAUNCHER_QUEUE_URL\)"),
    "RequestThrottled": (RateLimited, "throttled by SQS"),
    "AWS.SimpleQueueService.OverLimit": (TransientError, "too many messages"),
}


@pytest.mark.parametrize("code", ERRORS)
def test_an_error_names_the_permission_or_the_setting(url, monkeypatch, code):
    """Its kind says whether another try may help."""
    kind, words = ERRORS[code]

    async def life():
        async with faults.serving(url.rpartition("/")[0].rpartition("/")[0]) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", proxy.url)
            proxy.add(Rule("status", target="SendMessage", error=code))
            async with opened(url, timeout=0.05) as queue:
                await queue.send(BODY)

    with pytest.raises(kind, match=words):
        run(life())
