"""Stand-ins for SSM and GitHub that have nothing but their rate limits, on the loop's clock.

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
    """A limit of calls per second; up to one second's worth is saved, and at least one call."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate)
        self._left = self._most
        self._at = 0.0

    def take(self) -> bool:
        """Take one call if there is one; return whether there was. A refused call costs nothing."""
        self._left = min(self._most, self._left + (now() - self._at) * self.rate)
        self._at = now()
        if self._left < 1 - 1e-9:
            return False
        self._left -= 1
        return True


class Window:
    """A limit of points in a window of `seconds`, which begins with the first call."""

    def __init__(self, points: int, seconds: float) -> None:
        self._points, self._seconds = points, seconds
        self._spent = 0
        self.until = 0.0
        """The second at which it ends."""

    @property
    def left(self) -> int:
        """Return the points that are left."""
        return self._points - self._spent

    def take(self, points: int) -> float:
        """Take `points`; return 0 if they are granted, else the seconds until they may be."""
        if now() >= self.until:
            self._spent, self.until = 0, now() + self._seconds
        if self._spent + points > self._points:
            return self.until - now()
        self._spent += points
        return 0.0


@dataclass
class Counts:
    """The calls that were made, by name, and how many were refused."""

    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def note(self, name: str, *, granted: bool) -> bool:
        """Count one call; return `granted`."""
        self.calls[name] += 1
        self.refused[name] += not granted
        return granted


async def wait_on_network(least: float, most: float) -> None:
    """Wait for as long as one way of a call takes, in seconds."""
    await asyncio.sleep(random.uniform(least, most))  # noqa: S311  chance, not secrecy


class Parameters:
    """A client of SSM that holds parameters and has SSM's two limits."""

    def __init__(self, counts: Counts) -> None:
        self.modified: dict[str, datetime] = {}
        self.deleted: list[float] = []
        self._counts = counts
        self._shared, self._deletes = Bucket(READS), Bucket(DELETES)

    def grant(self, operation: str) -> bool:
        """Take one call from the operation's limit; return whether it is granted."""
        bucket = self._deletes if operation == "DeleteParameter" else self._shared
        return self._counts.note(operation, granted=bucket.take())

    async def put_parameter(self, **given: Any) -> None:
        """Write a token as a launcher does."""
        await self._call("PutParameter")
        self.modified[given["Name"]] = EPOCH + timedelta(seconds=now())

    async def get_parameter(self, **given: Any) -> dict[str, Any]:
        """Read a token."""
        await self._call("GetParameter")
        if given["Name"] not in self.modified:
            raise refusal("ParameterNotFound", "GetParameter")
        modified = self.modified[given["Name"]]
        return {"Parameter": {"Value": TOKEN, "Version": 1, "LastModifiedDate": modified}}

    async def delete_parameter(self, **given: Any) -> dict[str, Any]:
        """Delete a token; the answer holds only the request id that each answer of SSM has."""
        await self._call("DeleteParameter")
        if self.modified.pop(given["Name"], None) is None:
            raise refusal("ParameterNotFound", "DeleteParameter")
        self.deleted.append(now())
        return {"ResponseMetadata": {"HTTPHeaders": {"x-amzn-requestid": str(len(self.deleted))}}}

    async def _call(self, operation: str) -> None:
        await wait_on_network(0.01, 0.04)
        granted = self.grant(operation)
        await wait_on_network(0.01, 0.04)
        if not granted:
            raise refusal("ThrottlingException", operation)


def refusal(code: str, operation: str) -> ClientError:
    """Make the library's error."""
    error = {"Error": {"Code": code, "Message": "Rate exceeded"}}
    return ClientError({**error, "ResponseMetadata": {"HTTPStatusCode": 400}}, operation)


class RateLimited(Exception):
    """GitHub refuses; `seconds` until it may be asked again, None if it does not say."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class GitHub:
    """GitHub's limits: those of `configure`, and those of one access token.

    It is also the HTTP session of a client of its API: each POST creates a registration token.
    """

    def __init__(self, counts: Counts) -> None:
        self.most_at_once = 0
        self._counts = counts
        self._open = 0
        self._registrations = Window(REGISTRATIONS, HOUR)
        self._requests, self._points = Window(REQUESTS, HOUR), Window(POINTS, 60.0)

    async def register(self) -> None:
        """Add a runner, as `configure` does with a registration token."""
        await self._call("configure", ((self._registrations, 1),))

    @asynccontextmanager
    async def request(self, method: str, url: str, **_: Any) -> AsyncIterator[Answer]:
        """Answer one request of the API."""
        try:
            cost = POST_POINTS if method == "POST" else 1
            await self._call(url.rsplit("/", 1)[1], ((self._points, cost), (self._requests, 1)))
        except RateLimited as limit:
            wait = limit.seconds
            headers = {} if wait is None else {"retry-after": f"{wait + 0.5:.0f}"}
            yield Answer(403, headers, {"message": "You have exceeded a secondary rate limit"})
        else:
            expires = EPOCH + timedelta(seconds=now() + HOUR)
            yield Answer(201, {}, {"token": TOKEN, "expires_at": expires.isoformat()})

    async def _call(self, name: str, limits: tuple[tuple[Window, int], ...]) -> None:
        await wait_on_network(0.02, 0.06)
        if self._open >= AT_ONCE:
            self._counts.note(name, granted=False)
            raise RateLimited(None)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            waits = [limit.take(cost) for limit, cost in limits]
            self._counts.note(name, granted=not any(waits))
            await wait_on_network(0.1, 0.3)
            if any(waits):
                raise RateLimited(max(waits))
        finally:
            self._open -= 1


class Answer:
    """An answer, as an HTTP client returns it."""

    def __init__(self, status: int, headers: dict[str, str], body: object) -> None:
        self.status, self.headers, self.content = status, headers, self
        self._body = json.dumps(body).encode()

    async def readexactly(self, _: int) -> bytes:
        """Read the body, which is always shorter than the longest that is read."""
        raise asyncio.IncompleteReadError(self._body, None)
