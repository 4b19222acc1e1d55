"""Send, receive and delete messages of an SQS queue, and put off what has to come later.

The queue is a standard one. *Later* is a new message with a delay; then the old one is deleted. A
longer visibility would raise the old one's count of receives, and that count sends a message to the
dead letters. So these get what nobody understands, and what makes a worker crash.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from launcher.demand.message import (
    COUNT,
    FIRST_SEEN,
    LONGEST_DELAY,
    RECEIVED,
    SENT,
    Message,
    Poison,
    make_request,
    read_message,
)
from launcher.errors import describe
from sidecar.aws.calls import Call, NotFound, RateLimited, Service, TransientError, backoff
from sidecar.aws.session import CONFIG, ServiceClient
from sidecar.errors import SidecarError
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    from aiobotocore.session import AioSession

    T = TypeVar("T")

__all__ = [
    "Message",
    "Poison",
    "Queue",
    "Received",
    "Worker",
    "pause_after",
    "process",
    "put_off",
    "take",
]

log = structlog.get_logger()

SQS = Service("sqs", "SQS", "queue")
SETTING = "LAUNCHER_QUEUE_URL"
MOST = 10
"""Messages of one call."""
LONGEST_WAIT = 20.0
"""Seconds that SQS waits for a message, at most."""
TIMEOUT = 15.0
"""Seconds after which no more tries of one call are begun."""
FIRST_PAUSE = 5.0
"""Seconds before a message is tried again after an error; they double up to LONGEST_DELAY."""
GIVEN_UP = 26 * 3600.0
"""Seconds after which what still fails is left for the dead letters.

GitHub keeps a job queued for a day.
"""
_MISSING = {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}
_LIMITED = {"RequestThrottled", "KmsThrottled", "KMS.ThrottlingException"}
_BUSY = {"AWS.SimpleQueueService.OverLimit", "OverLimit"}
_GONE = {"ReceiptHandleIsInvalid", "InvalidIdFormat"}


@dataclass(frozen=True, slots=True)
class Received:
    """A message that was received, and by what it is deleted."""

    message: Message
    receipt: str


class PutOff(Protocol):
    """A worker's answer "later"."""

    @property
    def seconds(self) -> float:
        """Return how long to wait."""

    @property
    def reason(self) -> str:
        """Return why."""


class Worker(Protocol):
    """A handler of messages."""

    async def handle(self, message: Message) -> PutOff | None:
        """Handle one message. None: it is done with."""


class Queue(ServiceClient):
    """A client of one SQS queue. Every call raises AwsError, in one of its kinds."""

    # The library's own deadline must outlast the wait for a message.
    config = CONFIG.merge(AioConfig(read_timeout=LONGEST_WAIT + 5, max_pool_connections=50))

    def __init__(
        self,
        url: str,
        region: str | None = None,
        make_session: Callable[[], AioSession] | None = None,
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        super().__init__(SQS, region, make_session)
        self._url = url
        self._timeout = timeout

    async def open(self) -> None:
        """Make the library's client now: that takes long, and a first delivery has no time."""
        await Call("cannot reach the queue", SQS, "sqs:SendMessage", SETTING).run(self.connect)

    async def send(
        self, body: str, *, delay: float = 0, first_seen: float | None = None, count: int = 0
    ) -> None:
        """Send a message; it comes after `delay` seconds, which are cut to LONGEST_DELAY.

        It may be sent twice where an answer is lost: the record of its launch is found then.
        """
        request = make_request(self._url, body, delay=delay, first_seen=first_seen, count=count)

        async def send(client: Any) -> None:
            await client.send_message(**request)

        await self._call("cannot send to the queue", "sqs:SendMessage", send)

    async def receive(self, most: int = MOST, wait: float = LONGEST_WAIT) -> list[Received]:
        """Receive up to `most` messages; wait up to `wait` seconds for the first one."""
        seconds = int(min(wait, LONGEST_WAIT))

        async def receive(client: Any) -> list[Received]:
            answer = await client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(most, MOST),
                WaitTimeSeconds=seconds,
                MessageAttributeNames=[FIRST_SEEN, COUNT],
                MessageSystemAttributeNames=[RECEIVED, SENT],
            )
            return [_read(found) for found in answer.get("Messages", [])]

        action = "cannot receive from the queue"
        return await self._call(action, "sqs:ReceiveMessage", receive, seconds)

    async def delete(self, received: Received) -> None:
        """Delete a message; one that is gone is no error."""

        async def delete(client: Any) -> None:
            try:
                await client.delete_message(QueueUrl=self._url, ReceiptHandle=received.receipt)
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise

        await self._call("cannot delete from the queue", "sqs:DeleteMessage", delete)

    async def _call(
        self,
        action: str,
        permission: str,
        work: Callable[[Any], Awaitable[T]],
        wait: float = 0,
    ) -> T:
        call = Call(action, SQS, permission, SETTING)

        async def once() -> T:
            client = await self.connect()
            try:
                return await work(client)
            except ClientError as error:
                raise _translate(action, error) from error

        run = partial(call.run, once, wait + 10)
        return await call_with_retries(run, backoff(), seconds=self._timeout)


async def process(queue: Queue, received: Received, worker: Worker) -> bool:
    """Handle a message, and delete it where it is done with or was put off; else leave it.

    False: it was left, and SQS gives it out again until its dead letters get it.
    """
    if not await take(queue, received.message, worker):
        return False
    try:
        await queue.delete(received)
    except SidecarError as error:  # it comes again, and finds that its work is done
        log.warning("message.failed", reason=describe(error), step="delete")
    return True


async def take(
    queue: Queue, message: Message, worker: Worker, now: Callable[[], float] = time.time
) -> bool:
    """Handle a message, and send what comes later. False: leave the message as it is.

    An error that may pass puts the message off too, for longer each time. What the worker does not
    understand, or crashes on, is left.
    """
    try:
        later = await worker.handle(message)
    except Poison as error:
        log.error("message.refused", reason=describe(error), received=message.received)  # noqa: TRY400
        return False
    except SidecarError as error:
        log.warning("message.failed", reason=describe(error), step="handle", count=message.count)
        if now() - message.first_seen > GIVEN_UP:
            return False
        return await put_off(queue, message, pause_after(message.count))
    except Exception:
        log.exception("message.crashed", received=message.received)
        return False
    if later is None:
        return True
    log.info("message.put_off", seconds=later.seconds, reason=later.reason, count=message.count)
    return await put_off(queue, message, later.seconds)


def pause_after(count: int) -> float:
    """Return how many seconds a message waits after its error, which was put off `count` times."""
    return min(float(LONGEST_DELAY), FIRST_PAUSE * 2.0 ** min(count, 10))


async def put_off(queue: Queue, message: Message, seconds: float) -> bool:
    """Send a message anew, to come after `seconds`. False: leave the message as it is."""
    try:
        await queue.send(
            message.body,
            delay=max(1.0, seconds),
            first_seen=message.first_seen,
            count=message.count + 1,
        )
    except SidecarError as error:
        log.warning("message.failed", reason=describe(error), step="put_off", count=message.count)
        return False
    return True


def _read(found: dict[str, Any]) -> Received:
    own = found.get("MessageAttributes", {})
    numbers = {name: value.get("StringValue") for name, value in own.items()}
    message = read_message(found["Body"], numbers, found.get("Attributes", {}))
    return Received(message, found["ReceiptHandle"])


def _translate(action: str, error: ClientError) -> Exception:
    """Translate the codes that only SQS has; other errors are the call's to translate."""
    code = _code(error)
    if code in _MISSING:
        return NotFound(f"{action}: there is no such queue ({SETTING})")
    if code in _LIMITED:
        return RateLimited(f"{action}: throttled by SQS")
    if code in _BUSY:
        return TransientError(f"{action}: too many messages are being handled")
    return error  # type: ignore[no-any-return]  # botocore has no types


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
