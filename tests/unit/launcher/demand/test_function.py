"""The webhook as a Lambda function: what it answers, whatever AWS does."""

import asyncio
import json
import os
import threading
from contextlib import closing

import boto3
import pytest

from launcher.demand import function
from launcher.demand.function import Function
from launcher.demand.queue import Queue
from launcher.demand.signed_call import CallFailed
from local import aws as local_aws
from tests.unit.launcher.demand.deliveries import SECRET, deliver, payload

URL = "http://127.0.0.1:9/1/demand"


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Wait for what answers, however busy the machine is."""
    monkeypatch.setattr(function, "ANSWER_WITHIN", 60.0)
    monkeypatch.setattr(function, "FIRST_READ", 60.0)


class Aws:
    """What stands for AWS: secrets that are read, messages that are sent, and errors."""

    def __init__(self, **secrets):
        self.secrets = secrets
        self.calls, self.regions = [], []
        self.failing = {}

    def call(self, service, operation, wanted, region=None):
        """Answer one call."""
        self.calls.append(operation)
        self.regions.append(region)
        if failing := self.failing.get(operation):
            failing()
        if service == "sqs":
            return {}
        value = self.secrets[wanted.get("Name") or wanted.get("SecretId")]
        return {"Parameter": {"Value": value}} if service == "ssm" else {"SecretString": value}

    def fail(self, operation):
        """Refuse an operation from now on."""

        def refuse():
            raise CallFailed(f"{operation}: AWS answers 500")

        self.failing[operation] = refuse


class Clock:
    """A clock that a test moves."""

    time = 0.0

    def __call__(self):
        """Return the time."""
        return self.time


@pytest.fixture
def url_of_queue(aws, monkeypatch):
    """Make a queue; return what receives from it, and the function's environment."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIALOCAL", "AWS_SECRET_ACCESS_KEY": "local"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": aws}.items():
        monkeypatch.setenv(name, value)
    with closing(boto3.client("sqs", endpoint_url=aws)) as sqs:
        url = sqs.create_queue(QueueName="demand")["QueueUrl"]

    async def receive():
        async with Queue(url, local_aws.REGION) as queue:
            return await queue.receive(wait=0)

    own = {"LAUNCHER_QUEUE_URL": url, "LAUNCHER_WEBHOOK_SECRETS": SECRET}
    return receive, {**os.environ, **own}


@pytest.fixture
def lines(monkeypatch):
    """Return the lines that the function logs."""
    written = []
    monkeypatch.setattr(function, "log", function.Log(written.append, lambda: 0.0))
    return written


def make(aws, secrets=SECRET, **more):
    """Make a function; return what answers a delivery that was signed with `secret`."""
    environ = {"LAUNCHER_QUEUE_URL": URL, "LAUNCHER_WEBHOOK_SECRETS": secrets, **more}
    clock = Clock()
    made = Function(environ, aws, clock)

    def answer(secret=SECRET, **keys):
        headers, body = deliver(payload(**keys), secret=secret)
        event = {
            "headers": headers,
            "body": body.decode(),
            "requestContext": {"http": {"method": "POST"}},
        }
        return made.answer(event)["statusCode"]

    return answer, clock


def test_a_missing_setting_is_named():
    """All of them at once."""
    with pytest.raises(ValueError, match=r"QUEUE_URL is missing; LAUNCHER_WEBHOOK_SECRETS is"):
        Function({"LAUNCHER_QUEUE_URL": " "})


def test_who_is_not_allowed_is_refused():
    """As in the service."""
    answer, _ = make(Aws(), LAUNCHER_ALLOW="acme, other/app")
    assert answer() == 202
    assert answer(repository={"id": 1, "full_name": "mallory/app"}) == 403


@pytest.mark.parametrize("place", ["ssm:/webhook", "secretsmanager:/webhook"])
def test_a_replaced_secret_is_seen(place):
    """Old and new one side by side; a wrong signature does not make it ask AWS each time."""
    aws = Aws(**{"/webhook": "first secret"})
    answer, clock = make(aws, f"a literal one,{place}")
    assert [answer("first secret"), answer("a literal one"), answer("second secret")] == [
        202,
        202,
        401,
    ]
    assert aws.calls.count("SendMessage") == 2
    assert len(aws.calls) == 3
    aws.secrets["/webhook"] = "second secret\nfirst secret\n"
    clock.time += function.READ_AGAIN + 1
    assert [answer("second secret"), answer("first secret")] == [202, 202]
    aws.secrets["/webhook"] = "second secret"
    clock.time += function.KEPT + 1
    assert [answer("second secret"), answer("first secret")] == [202, 401]


def test_secrets_that_cannot_be_read_again_stay(lines):
    """It is said, and no delivery is lost by it."""
    aws = Aws(**{"/webhook": "first secret"})
    answer, clock = make(aws, "ssm:/webhook")
    assert answer("first secret") == 202
    aws.fail("GetParameter")
    clock.time += function.KEPT + 1
    assert [answer("first secret"), answer("first secret")] == [202, 202]
    (line,) = map(json.loads, lines)
    assert (line["event"], line["level"]) == ("secret.kept", "error")


def test_without_secrets_nothing_is_accepted(lines):
    """The answer says that it is not the sender's fault, and GitHub keeps the delivery."""
    aws = Aws(**{"/empty": "\n"})
    aws.fail("GetParameter")
    assert make(aws, "ssm:/webhook")[0]() == 503
    assert make(aws, "secretsmanager:/empty")[0]("") == 503
    assert [json.loads(line)["event"] for line in lines] == ["webhook.failed"] * 2
    assert "SendMessage" not in aws.calls


def test_a_queue_that_refuses_is_asked_twice(lines):
    """Then the sender is told, and the log says which permission and setting to look at."""
    aws = Aws()
    aws.fail("SendMessage")
    assert make(aws)[0]() == 503
    assert aws.calls == ["SendMessage"] * 2
    (line,) = map(json.loads, lines)
    assert "needs sqs:SendMessage; LAUNCHER_QUEUE_URL" in line["reason"]


def test_a_queue_that_never_answers_is_not_waited_for(lines, monkeypatch):
    """The call may end later: the next delivery does not share its connection."""
    monkeypatch.setattr(function, "ANSWER_WITHIN", 0.01)
    released = threading.Event()
    aws = Aws()
    aws.failing["SendMessage"] = released.wait
    try:
        assert make(aws)[0]() == 503
    finally:
        released.set()
    assert json.loads(lines[0])["reason"] == "the queue does not answer"


def test_secrets_that_never_come_are_not_waited_for(lines, monkeypatch):
    """The old ones stay; and without any, the sender is told in the end."""
    monkeypatch.setattr(function, "ANSWER_WITHIN", 0.01)
    monkeypatch.setattr(function, "FIRST_READ", 0.01)
    released = threading.Event()
    aws = Aws(**{"/webhook": "first secret"})
    try:
        aws.failing["GetParameter"] = released.wait
        answer, _ = make(aws, "ssm:/webhook")
        assert answer("first secret") == 503
        del aws.failing["GetParameter"]
        monkeypatch.setattr(function, "FIRST_READ", 60.0)
        monkeypatch.setattr(function, "ANSWER_WITHIN", 60.0)
        answer, clock = make(aws, "ssm:/webhook")
        assert answer("first secret") == 202
        aws.failing["GetParameter"] = released.wait
        monkeypatch.setattr(function, "ANSWER_WITHIN", 0.01)
        clock.time += function.KEPT + 1
        answer("first secret")
    finally:
        released.set()
    events = [json.loads(line)["event"] for line in lines]
    assert events[:2] == ["webhook.failed", "secret.kept"]


def test_a_file_may_hold_the_secrets(tmp_path):
    """One a line."""
    path = tmp_path / "secrets"
    path.write_text("first secret\nsecond secret\n")
    answer, _ = make(Aws(), f"file:{path}")
    assert [answer("second secret"), answer("another one")] == [202, 401]


def test_no_secret_is_written(lines, capsys):
    """Neither in a line nor in an answer."""
    aws = Aws(**{"/webhook": "canary-canary"})
    answer, _ = make(aws, "ssm:/webhook")
    answer("canary-canary")
    aws.fail("SendMessage")
    answer("canary-canary")
    assert "canary" not in "".join(lines) + capsys.readouterr().out


def test_a_delivery_becomes_the_message_of_the_service(url_of_queue):
    """Through real sockets, to moto's SQS: the worker reads it as it reads the service's."""
    queue, environ = url_of_queue
    headers, body = deliver(payload())
    event = {"httpMethod": "POST", "headers": headers, "body": body.decode()}
    assert Function(environ).answer(event)["statusCode"] == 202
    (received,) = asyncio.run(queue())
    assert json.loads(received.message.body)["job_id"] == 11
