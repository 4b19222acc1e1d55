"""The same webhook in a Lambda function, behind each kind of address."""

import base64
import json

import pytest

from launcher.demand.function import Function
from tests.unit.launcher.demand.deliveries import SECRET, deliver, payload

ENVIRON = {"LAUNCHER_QUEUE_URL": "http://sqs/1/demand", "LAUNCHER_WEBHOOK_SECRETS": SECRET}
HEADERS, BODY = deliver(payload())
V2 = {"version": "2.0", "rawPath": "/", "requestContext": {"http": {"method": "POST"}}}
ALB = {"httpMethod": "POST", "path": "/", "requestContext": {"elb": {}}}
MANY = {"multiValueHeaders": {key: [value] for key, value in HEADERS.items()}}
CAPITALS = {"headers": {key.title(): value for key, value in HEADERS.items()}}
PLAIN = {"body": BODY.decode(), "isBase64Encoded": False}
ENCODED = {"body": base64.b64encode(BODY).decode(), "isBase64Encoded": True}


class Caller:
    """What stands for AWS: it keeps the jobs that were sent."""

    def __init__(self):
        self.sent = []

    def call(self, service, operation, wanted):
        """Take one call."""
        assert (service, operation) == ("sqs", "SendMessage")
        self.sent.append(json.loads(wanted["MessageBody"])["job_id"])
        return {}


def take(event):
    """Let a function take an event; return the answer and what was sent."""
    caller = Caller()
    return Function(ENVIRON, caller).answer(event), caller.sent


@pytest.mark.parametrize("body", [PLAIN, ENCODED])
@pytest.mark.parametrize(
    "event",
    [{**V2, "headers": HEADERS}, {**ALB, "headers": HEADERS}, {**ALB, **MANY}, {**V2, **CAPITALS}],
)
def test_each_shape_is_read(event, body):
    """The bytes that were signed come out of each, encoded or not."""
    answer, sent = take({**event, **body})
    assert (answer["statusCode"], answer["isBase64Encoded"], sent) == (202, False, [11])
    assert ("multiValueHeaders" in answer) is ("headers" not in event)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({}, 400),
        ({"requestContext": 3}, 400),
        ({**V2, "headers": 3}, 400),
        ({**V2, "headers": HEADERS, "body": 3}, 400),
        ({**V2, "headers": HEADERS, "body": "%", "isBase64Encoded": True}, 400),
        ({**V2, "headers": HEADERS, "body": "\ud800"}, 400),
        ({**V2, "headers": HEADERS}, 401),
        ({**V2, "requestContext": {"http": {"method": "GET"}}}, 405),
    ],
)
def test_what_is_no_delivery_is_answered(event, status):
    """A handler that raises would be called again by some senders."""
    answer, sent = take(event)
    assert (answer["statusCode"], sent) == (status, [])
