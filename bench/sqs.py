"""A small and fast SQS: one standard queue in memory, for figures that moto's server would hide.

moto answers some two hundred requests a second, and looks for a new message every ten milliseconds.
This one answers thousands, and a waiting receiver gets a message the moment it is there. It knows
SendMessage, ReceiveMessage (long polling, visibility, attributes), DeleteMessage,
ChangeMessageVisibility and GetQueueAttributes of the JSON protocol. Run it with
`python -m bench.sqs`; `GET /_local/messages` counts what was sent, and `/_local/empty` empties the
queue. tests/bench plays the same calls to it and to moto by botocore's client.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import math
import signal
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local import aws
from local.listening import listening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TARGET = "AmazonSQS."
QUEUE = f"/{aws.ACCOUNT}/demand"
"""The path of the queue's URL."""
VISIBILITY = 30.0
LONGEST_VISIBILITY = 12 * 3600
LARGEST = 1024 * 1024
"""Bytes of a message."""
LONGEST_DELAY, LONGEST_WAIT, MOST = 900, 20, 10


class RefusedError(Exception):
    """An error that SQS answers."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Message:
    """One message."""

    body: str
    attributes: dict[str, Any]
    group: str | None
    sent: float
    visible_at: float
    number: int
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    received: int = 0
    first_received: float = 0.0
    receipt: str = ""


class Queue:
    """The queue."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.url = ""
        self.messages: dict[str, Message] = {}
        self.sent = self.deleted = 0
        self.longest = math.inf
        """Seconds for which a message is delayed, at most: a test has no time."""
        self.visibility = VISIBILITY
        self._now = now
        self._numbers = itertools.count(1)
        self._came = asyncio.Event()

    def send(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Take a message."""
        body, delay = wanted.get("MessageBody"), wanted.get("DelaySeconds", 0)
        if not isinstance(body, str) or not body:
            raise RefusedError("MissingParameter", "The request must contain MessageBody.")
        if len(body.encode()) > LARGEST:
            raise RefusedError("InvalidParameterValue", "Message must be shorter than 1048576 B")
        if not 0 <= delay <= LONGEST_DELAY:
            raise RefusedError("InvalidParameterValue", f"Value {delay} for DelaySeconds is wrong")
        now = self._now()
        attributes = wanted.get("MessageAttributes") or {}
        group = wanted.get("MessageGroupId")
        visible_at = now + min(delay, self.longest)
        message = Message(body, attributes, group, now, visible_at, next(self._numbers))
        self.messages[message.id] = message
        self.sent += 1
        self._came.set()
        return {"MessageId": message.id, "MD5OfMessageBody": _md5(body)}

    async def receive(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Give messages that are visible; wait for the first one."""
        most, wait = wanted.get("MaxNumberOfMessages", 1), wanted.get("WaitTimeSeconds", 0)
        if not 1 <= most <= MOST or not 0 <= wait <= LONGEST_WAIT:
            raise RefusedError("InvalidParameterValue", "most must be 1 to 10, wait 0 to 20")
        until = self._now() + wait
        while not (found := self._visible()[:most]) and self._now() < until:
            self._came.clear()
            later = [each.visible_at for each in self.messages.values()]
            pause = max(0.0, min([until, *later]) - self._now())
            try:
                await asyncio.wait_for(self._came.wait(), pause)
            except TimeoutError:
                continue
        if not found:
            return {}
        return {"Messages": [self._hand_out(message, wanted) for message in found]}

    def _visible(self) -> list[Message]:
        now = self._now()
        return sorted(
            (each for each in self.messages.values() if each.visible_at <= now),
            key=lambda each: each.number,
        )

    def _hand_out(self, message: Message, wanted: dict[str, Any]) -> dict[str, Any]:
        now = self._now()
        message.received += 1
        message.first_received = message.first_received or now
        message.visible_at = now + wanted.get("VisibilityTimeout", self.visibility)
        message.receipt = f"{message.id}#{uuid.uuid4()}"
        system = {
            "ApproximateReceiveCount": str(message.received),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received * 1000)),
            "SentTimestamp": str(int(message.sent * 1000)),
            "SenderId": aws.ACCOUNT,
            **({"MessageGroupId": message.group} if message.group else {}),
        }
        given = {
            "MessageId": message.id,
            "ReceiptHandle": message.receipt,
            "MD5OfBody": _md5(message.body),
            "Body": message.body,
        }
        names = wanted.get("MessageSystemAttributeNames") or wanted.get("AttributeNames") or []
        if shown := {key: value for key, value in system.items() if {key, "All"} & set(names)}:
            given["Attributes"] = shown
        names = wanted.get("MessageAttributeNames") or []
        own = message.attributes.items()
        if shown := {key: value for key, value in own if {key, "All", ".*"} & set(names)}:
            given["MessageAttributes"] = shown
        return given

    def delete(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Delete by receipt; one that is gone is no error."""
        receipt = str(wanted.get("ReceiptHandle", ""))
        name, mark, _ = receipt.partition("#")
        if not mark:
            message = f'The input receipt handle "{receipt}" is not a valid receipt handle.'
            raise RefusedError("ReceiptHandleIsInvalid", message)
        if self.messages.pop(name, None) is not None:
            self.deleted += 1
        return {}

    def change_visibility(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Make a message visible sooner or later."""
        message = self.messages.get(str(wanted.get("ReceiptHandle", "")).partition("#")[0])
        if message is None:
            raise RefusedError("ReceiptHandleIsInvalid", "there is no such message")
        seconds = wanted.get("VisibilityTimeout", 0)
        if not 0 <= seconds <= LONGEST_VISIBILITY:
            raise RefusedError("InvalidParameterValue", f"VisibilityTimeout {seconds} is wrong")
        message.visible_at = self._now() + seconds
        self._came.set()
        return {}

    def describe(self, _: dict[str, Any]) -> dict[str, Any]:
        """Count the messages, as GetQueueAttributes does."""
        now = self._now()
        visible = sum(each.visible_at <= now for each in self.messages.values())
        hidden = sum(each.visible_at > now and each.received > 0 for each in self.messages.values())
        counts = {
            "ApproximateNumberOfMessages": visible,
            "ApproximateNumberOfMessagesNotVisible": hidden,
            "ApproximateNumberOfMessagesDelayed": len(self.messages) - visible - hidden,
        }
        return {"Attributes": {key: str(value) for key, value in counts.items()}}

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        if request.path.startswith("/_local/"):
            return self._answer_control(request)
        operation = request.headers.get("X-Amz-Target", "").removeprefix(TARGET)
        try:
            document, status = await self._carry_out(operation, request), 200
        except RefusedError as error:
            document = {"__type": f"com.amazonaws.sqs#{error.kind}", "message": str(error)}
            status = 400
        return web.Response(
            status=status,
            body=json.dumps(document).encode(),
            content_type="application/x-amz-json-1.0",
            headers={"x-amzn-RequestId": str(uuid.uuid4())},
        )

    async def _carry_out(self, operation: str, request: web.BaseRequest) -> dict[str, Any]:
        if "Authorization" not in request.headers:
            raise RefusedError("MissingAuthenticationToken", "the request is not signed")
        wanted = json.loads(await request.read() or b"{}")
        if not str(wanted.get("QueueUrl", "")).endswith(QUEUE):
            message = "The specified queue does not exist."
            raise RefusedError("QueueDoesNotExist", message)
        if operation == "ReceiveMessage":
            return await self.receive(wanted)
        known = {
            "SendMessage": self.send,
            "DeleteMessage": self.delete,
            "ChangeMessageVisibility": self.change_visibility,
            "GetQueueAttributes": self.describe,
        }
        if operation not in known:
            raise RefusedError("InvalidAction", f"unknown: {operation}")
        return known[operation](wanted)

    def _answer_control(self, request: web.BaseRequest) -> web.Response:
        if request.path.endswith("/empty"):
            self.messages.clear()
        held = len(self.messages)
        return web.json_response({"sent": self.sent, "deleted": self.deleted, "held": held})


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@asynccontextmanager
async def serving(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Queue]:
    """Serve one queue; its `url` is the queue's."""
    queue = Queue()
    async with listening(queue.answer, host, port) as url:
        queue.url = url + QUEUE
        yield queue


async def _main(host: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(host, port) as queue:
        print(f"ready {queue.url.removesuffix(QUEUE)}", flush=True)
        await stopped.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    import uvloop  # faster, and the agent has it anyway

    parser = argparse.ArgumentParser(prog="python -m bench.sqs", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:0", help="host:port to listen on")
    host, _, port = parser.parse_args().address.rpartition(":")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(host, int(port)))


if __name__ == "__main__":
    main()
