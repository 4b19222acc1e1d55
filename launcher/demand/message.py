"""Write and read one message of the queue; nothing here calls AWS, so a Lambda function loads none.

A message that comes later is a new one. What it keeps of the old one stands in its attributes: when
the first was sent, and how often it was put off.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_DELAY = 900
"""Seconds for which SQS holds a message back, at most."""
FIRST_SEEN, COUNT = "first_seen", "count"
"""The attributes that a later message carries."""
RECEIVED, SENT = "ApproximateReceiveCount", "SentTimestamp"
"""SQS's own attributes."""
_GROUP = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,./:;<=>?@\[\\\]^_`{|}~-]{1,128}")


class Poison(SidecarError):
    """A message that no worker will ever understand: it goes to the dead letters."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the queue."""

    body: str
    """JSON: a demand, an event of ECS, or `{"kind": "tick"}`."""
    first_seen: float
    """Seconds since 1970 when the first message of this matter was sent."""
    count: int = 0
    """How often it was put off."""
    received: int = 1
    """How often this very message was received."""
    sent: float = 0.0
    """Seconds since 1970 when this very message was sent."""


def make_request(
    url: str, body: str, *, delay: float = 0, first_seen: float | None = None, count: int = 0
) -> dict[str, Any]:
    """Make the whole request of SendMessage."""
    request: dict[str, Any] = {"QueueUrl": url, "MessageBody": body}
    if delay > 0:
        request["DelaySeconds"] = min(LONGEST_DELAY, math.ceil(delay))
    numbers = {FIRST_SEEN: first_seen, COUNT: count or None}
    attributes = {
        name: {"DataType": "Number", "StringValue": str(value)}
        for name, value in numbers.items()
        if value is not None
    }
    if attributes:
        request["MessageAttributes"] = attributes
    if (group := find_group(body)) is not None:
        request["MessageGroupId"] = group
    return request


def find_group(body: str) -> str | None:
    """Find the group of a message: its repository. SQS serves groups in turn (fair queues).

    So a repository with a thousand queued jobs does not hold up the others.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    name = found.get("repository") if isinstance(found, dict) else None
    if not isinstance(name, str) or not name:
        return None
    return name if _GROUP.fullmatch(name) else hashlib.sha256(name.encode()).hexdigest()


def read_message(body: str, numbers: Mapping[str, object], system: Mapping[str, object]) -> Message:
    """Read a message: its own attributes by name, and SQS's. What is no number is missing."""
    sent = _number(system.get(SENT)) / 1000
    return Message(
        body,
        _number(numbers.get(FIRST_SEEN)) or sent,
        int(_number(numbers.get(COUNT))),
        max(1, int(_number(system.get(RECEIVED)))),
        sent,
    )


def _number(value: object) -> float:
    """Read a number that is not negative; 0 where there is none."""
    try:
        number = float(str(value))
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0
