"""SQS as the launcher uses it: a standard queue with delays, duplicates and dead letters."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.storms.calls import loop_time, refusal

if TYPE_CHECKING:
    from tests.storms.calls import Weather

SERVICE = "sqs"
VISIBILITY = 180.0
MOST_RECEIVES = 5
"""As in the deployment."""
LONGEST = 256 * 1024


@dataclass
class Held:
    """A message in the queue."""

    body: str
    attributes: dict[str, Any]
    sent: float
    visible: float
    received: int = 0
    receipts: set[str] = field(default_factory=set)


class Sqs:
    """One queue."""

    def __init__(self, weather: Weather, *, duplicates: float = 0.0) -> None:
        self.held: dict[int, Held] = {}
        self.dead: list[Held] = []
        self.duplicates = duplicates
        """The fraction of deletes after which the message comes once more."""
        self._weather = weather
        self._numbers = itertools.count(1)
        self._arrived = asyncio.Event()
        self._hidden: list[tuple[float, int]] = []
        self._ready: list[int] = []

    # -- as its owner sees it ----------------------------------------------------------------

    def put(self, body: str, delay: float = 0.0, attributes: dict[str, Any] | None = None) -> None:
        """Put a message into the queue, as a rule of EventBridge does."""
        number, at = next(self._numbers), loop_time()
        self.held[number] = Held(body, attributes or {}, at, at)
        self._show(number, delay)

    def _show(self, number: int, delay: float) -> None:
        """Let a message be given out after `delay` seconds."""
        self.held[number].visible = loop_time() + delay
        heapq.heappush(self._hidden, (self.held[number].visible, number))
        self._arrived.set()

    def _find_ready(self) -> list[int]:
        """Return the messages that may be given out now, in no order."""
        now = loop_time()
        while self._hidden and self._hidden[0][0] <= now:
            visible, number = heapq.heappop(self._hidden)
            held = self.held.get(number)
            if held is not None and held.visible == visible:
                self._ready.append(number)
        return self._ready

    def bodies(self) -> list[dict[str, Any]]:
        """Return what is in the queue."""
        return [json.loads(each.body) for each in self.held.values()]

    def redrive(self) -> None:
        """Send the dead letters back, as new messages (StartMessageMoveTask)."""
        dead, self.dead = self.dead, []
        for held in dead:
            self._weather.note(f"a dead letter comes back: {held.body[:100]}")
            self.put(held.body, 0.0, held.attributes)

    async def wait_visible(self) -> None:
        """Wait until there is a message to receive."""
        while not self._find_ready():
            self._arrived.clear()
            # Only a message that is put, or whose time has come, changes anything.
            seconds = self._hidden[0][0] - loop_time() + 1e-6 if self._hidden else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()

    # -- as its clients see it ---------------------------------------------------------------

    async def send_message(self, **given: Any) -> dict[str, Any]:
        """Take a message."""
        delay = given.get("DelaySeconds", 0)

        def act() -> dict[str, Any]:
            if not isinstance(delay, int) or not 0 <= delay <= 900:
                raise refusal("InvalidParameterValue", "SendMessage", f"DelaySeconds {delay}")
            if len(given["MessageBody"].encode()) > LONGEST:
                raise refusal("InvalidParameterValue", "SendMessage", "too long")
            self.put(given["MessageBody"], delay, given.get("MessageAttributes"))
            return {"MessageId": "1"}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "SendMessage", act)
        return answer

    async def receive_message(self, **given: Any) -> dict[str, Any]:
        """Give out some of the messages that are visible, in no order."""
        if given.get("WaitTimeSeconds"):
            try:
                async with asyncio.timeout(given["WaitTimeSeconds"]):
                    await self.wait_visible()
            except TimeoutError:
                return {}
        seconds = given.get("VisibilityTimeout", VISIBILITY)
        most = given.get("MaxNumberOfMessages", 1)

        def act() -> dict[str, Any]:
            ready, given = self._find_ready(), []
            while ready and len(given) < most:
                which = self._weather.chance.randrange(len(ready))
                ready[which], ready[-1] = ready[-1], ready[which]
                if (number := ready.pop()) in self.held:
                    given.append(self._give(number, seconds))
            return {"Messages": given}

        answer = await self._weather.call(SERVICE, "ReceiveMessage", act)
        return {"Messages": [each for each in answer["Messages"] if each is not None]}

    def _give(self, number: int, seconds: float) -> dict[str, Any] | None:
        held = self.held[number]
        if held.received >= MOST_RECEIVES:
            self.dead.append(self.held.pop(number))
            self._weather.note(f"dead letter: {held.body[:100]}")
            return None
        held.received += 1
        self._show(number, seconds)
        receipt = f"{number}/{held.received}"
        held.receipts.add(receipt)
        return {
            "MessageId": str(number),
            "ReceiptHandle": receipt,
            "Body": held.body,
            "Attributes": {
                "ApproximateReceiveCount": str(held.received),
                "SentTimestamp": str(int((held.sent + _epoch()) * 1000)),
                "ApproximateFirstReceiveTimestamp": str(int((held.sent + _epoch()) * 1000)),
            },
            "MessageAttributes": held.attributes,
        }

    async def delete_message(self, **given: Any) -> dict[str, Any]:
        """Delete a message; now and then it comes once more all the same."""

        def act() -> dict[str, Any]:
            number = int(given["ReceiptHandle"].partition("/")[0])
            if number not in self.held:
                return {}
            if self._weather.chance.random() < self.duplicates and loop_time() < self._weather.calm:
                self._weather.note(f"message {number} comes again, though deleted")
                self._show(number, self._weather.chance.uniform(0, 60))
            else:
                del self.held[number]
            return {}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "DeleteMessage", act)
        return answer

    async def change_message_visibility(self, **given: Any) -> dict[str, Any]:
        """Set when a message is given out again."""

        def act() -> dict[str, Any]:
            number = int(given["ReceiptHandle"].partition("/")[0])
            if number in self.held:
                self._show(number, given["VisibilityTimeout"])
            return {}

        answer: dict[str, Any] = await self._weather.call(SERVICE, "ChangeMessageVisibility", act)
        return answer


def _epoch() -> float:
    from tests.storms.clock import EPOCH

    return EPOCH
