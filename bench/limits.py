"""SSM and GitHub as a crowd meets them: nothing but their limits, on the loop's own clock.

Sources: AWS' quotas of Parameter Store (40 transactions/s, get and put together; DeleteParameter
5/s) and GitHub's documented limits of its REST API (100 requests at a time, 900 points a minute
of which a POST costs five, 5,000 requests/h of a personal access token; 10,000/h is what the
answers to `configure` say of its own bucket).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READS, DELETES = 40.0, 5.0
"""SSM's calls per second."""
REGISTRATIONS, REQUESTS = 10_000, 5_000
"""GitHub's calls per hour: of `configure`, and of a personal access token."""
POINTS, POST_POINTS, AT_ONCE = 900, 5, 100
HOUR = 3600.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "AVIRTUALREGISTRATIONTOKEN"


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


class Bucket:
    """So many calls per second, with one second's worth saved up."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._left = rate
        self._at = 0.0

    def takes(self) -> bool:
        """Take one call, if there is one; a refused call costs nothing."""
        self._left = min(self.rate, self._left + (now() - self._at) * self.rate)
        self._at = now()
        if self._left < 1 - 1e-9:
            return False
        self._left -= 1
        return True


class Window:
    """So many points from the first call on until `seconds` later, then anew."""

    def __init__(self, points: int, seconds: float) -> None:
        self._points, self._seconds = points, seconds
        self._spent, self._until = 0, 0.0

    def left(self, points: int) -> float:
        """Take `points`: 0 if they are granted, else the seconds until they may be."""
        if now() >= self._until:
            self._spent, self._until = 0, now() + self._seconds
        if self._spent + points > self._points:
            return self._until - now()
        self._spent += points
        return 0.0


@dataclass
class Counts:
    """What was asked, by name."""

    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def note(self, name: str, *, granted: bool) -> bool:
        """Count one call; gives back whether it was granted."""
        self.calls[name] += 1
        self.refused[name] += not granted
        return granted


async def travelled(least: float, most: float) -> None:
    """Wait as long as a call is under way."""
    await asyncio.sleep(random.uniform(least, most))  # noqa: S311  chance, not secrecy


class Parameters:
    """SSM's client, as far as a token's life needs it: what is there, and its two buckets."""

    def __init__(self, counts: Counts) -> None:
        self.held: dict[str, datetime] = {}
        self.deleted: list[float] = []
        self._tally = counts
        self._shared, self._deletes = Bucket(READS), Bucket(DELETES)

    def grants(self, operation: str) -> bool:
        """Take one call out of the bucket that it shares with others of its kind."""
        bucket = self._deletes if operation == "DeleteParameter" else self._shared
        return self._tally.note(operation, granted=bucket.takes())

    async def put_parameter(self, **given: Any) -> None:
        """Write a token as a launcher does."""
        await self._call("PutParameter")
        self.held[given["Name"]] = EPOCH + timedelta(seconds=now())

    async def get_parameter(self, **given: Any) -> dict[str, Any]:
        """Read a token."""
        await self._call("GetParameter")
        if given["Name"] not in self.held:
            raise refusal("ParameterNotFound", "GetParameter")
        modified = self.held[given["Name"]]
        return {"Parameter": {"Value": TOKEN, "Version": 1, "LastModifiedDate": modified}}

    async def delete_parameter(self, **given: Any) -> dict[str, Any]:
        """Delete a token; the answer's only content is the id that every answer of SSM has."""
        await self._call("DeleteParameter")
        if self.held.pop(given["Name"], None) is None:
            raise refusal("ParameterNotFound", "DeleteParameter")
        self.deleted.append(now())
        return {"ResponseMetadata": {"HTTPHeaders": {"x-amzn-requestid": str(len(self.deleted))}}}

    async def _call(self, operation: str) -> None:
        await travelled(0.01, 0.04)
        granted = self.grants(operation)
        await travelled(0.01, 0.04)
        if not granted:
            raise refusal("ThrottlingException", operation)


def refusal(code: str, operation: str) -> ClientError:
    """Make the library's error."""
    said = {"Error": {"Code": code, "Message": "Rate exceeded"}}
    return ClientError({**said, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation)


class Limited(Exception):
    """GitHub refuses; `seconds` until it may be asked again, None if it does not say."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class GitHub:
    """GitHub, as far as it says no: `configure`'s bucket, and the limits of one access token.

    It is also the HTTP session of a client of its API: every POST mints a registration token.
    """

    def __init__(self, counts: Counts) -> None:
        self.most_at_once = 0
        self._tally = counts
        self._open = 0
        self._registrations = Window(REGISTRATIONS, HOUR)
        self._requests, self._points = Window(REQUESTS, HOUR), Window(POINTS, 60.0)

    async def register(self) -> None:
        """Add a runner, as `configure` does with a registration token."""
        await self._asked("configure", ((self._registrations, 1),))

    @asynccontextmanager
    async def request(self, method: str, url: str, **_: Any) -> AsyncIterator[Answer]:
        """Answer one request of the API."""
        try:
            cost = POST_POINTS if method == "POST" else 1
            await self._asked(url.rsplit("/", 1)[1], ((self._points, cost), (self._requests, 1)))
        except Limited as limit:
            told = {} if limit.seconds is None else {"retry-after": f"{limit.seconds + 0.5:.0f}"}
            yield Answer(403, told, {"message": "You have exceeded a secondary rate limit"})
        else:
            expires = EPOCH + timedelta(seconds=now() + HOUR)
            yield Answer(201, {}, {"token": TOKEN, "expires_at": expires.isoformat()})

    async def _asked(self, name: str, limits: tuple[tuple[Window, int], ...]) -> None:
        await travelled(0.02, 0.06)
        if self._open >= AT_ONCE:
            self._tally.note(name, granted=False)
            raise Limited(None)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            waits = [limit.left(cost) for limit, cost in limits]
            self._tally.note(name, granted=not any(waits))
            await travelled(0.1, 0.3)
            if any(waits):
                raise Limited(max(waits))
        finally:
            self._open -= 1


class Answer:
    """What an HTTP client hands over."""

    def __init__(self, status: int, headers: dict[str, str], body: object) -> None:
        self.status, self.headers, self.content = status, headers, self
        self._body = json.dumps(body).encode()

    async def readexactly(self, _: int) -> bytes:
        """Read the body, which is always shorter than what is wanted at most."""
        raise asyncio.IncompleteReadError(self._body, None)
