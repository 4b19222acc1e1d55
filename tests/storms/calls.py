"""One call of a service in a storm: it takes time, and may fail before or after it has worked."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore import exceptions as library
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from bench.limits import Bucket

FATES: Final = ("unreachable", "500", "throttled", "lost", "silent", "slow")
"""What may happen to a call: the last three happen after it has worked."""


@dataclass
class Weather:
    """How often calls fail, and what was written down about it all."""

    chance: random.Random
    rate: float = 0.0
    """How many of a hundred calls fail, as a fraction."""
    latency: tuple[float, float] = (0.005, 0.05)
    story: list[tuple[float, str]] = field(default_factory=list)
    keeps_story: bool = True
    outages: dict[str, tuple[float, float]] = field(default_factory=dict)
    """For each service the seconds between which it answers nothing but 5xx."""
    calm: float = float("inf")
    """The second from which on nothing fails any more."""
    counts: Counter[str] = field(default_factory=Counter)
    """The calls, by service and operation; also those that are refused."""
    refused: Counter[str] = field(default_factory=Counter)
    """Those that a limit refused."""
    buckets: dict[str, Bucket] = field(default_factory=dict)
    """The limits of calls a second, by service and operation; several may share one."""

    def note(self, text: str) -> None:
        """Write a line of the story."""
        if self.keeps_story:
            self.story.append((loop_time(), text))

    def draw(self, service: str) -> str | None:
        """Draw what happens to one call."""
        at = loop_time()
        if at >= self.calm:
            return None
        begin, end = self.outages.get(service, (0.0, 0.0))
        if begin <= at < end:
            return "500"
        return self.chance.choice(FATES) if self.chance.random() < self.rate else None

    async def wait(self) -> None:
        """Wait for as long as one way of a call takes."""
        await asyncio.sleep(self.chance.uniform(*self.latency))

    async def call(self, service: str, operation: str, act: Callable[[], Any]) -> Any:
        """Call an AWS service; `act` does it, and raises what AWS refuses."""
        key = f"{service}:{operation}"
        self.counts[key] += 1
        await self.wait()
        bucket = self.buckets.get(key)
        if bucket is not None and not bucket.take():
            self.refused[key] += 1
            await self.wait()
            raise refusal("ThrottlingException", operation, "Rate exceeded")
        fate = self.draw(service)
        if fate == "unreachable":
            self.note(f"{operation}: not reached")
            raise library.EndpointConnectionError(endpoint_url=service)
        if fate == "500":
            self.note(f"{operation}: 500")
            raise refusal("InternalFailure", operation, status=500)
        if fate == "throttled":
            self.note(f"{operation}: throttled")
            raise refusal("ThrottlingException", operation, "Rate exceeded")
        answer = act()
        if fate == "lost":
            self.note(f"{operation}: done, and its answer lost")
            raise library.ReadTimeoutError(endpoint_url=service)
        if fate == "silent":
            self.note(f"{operation}: done, and never answered")
            await asyncio.sleep(3600)
        if fate == "slow":
            await asyncio.sleep(self.chance.uniform(1, 12))
        await self.wait()
        return answer


def loop_time() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


def refusal(
    code: str, operation: str, text: str = "", status: int = 400, **members: Any
) -> ClientError:
    """Make the library's error."""
    detail = {"Error": {"Code": code, "Message": text or code}}
    return ClientError(
        {**detail, "ResponseMetadata": {"HTTPStatusCode": status}, **members}, operation
    )


class Pages:
    """A paginator of one operation."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    async def paginate(self, **arguments: Any) -> Any:
        """Yield the pages; here there is one."""
        yield await self._call(**arguments)


class Service:
    """A service of AWS in a storm: each of its calls goes through the storm's weather."""

    name: str
    """The name by which the weather counts its calls."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather

    def get_paginator(self, operation: str) -> Pages:
        """Return the pages of an operation."""
        return Pages(getattr(self, operation))

    async def _call(self, operation: str, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._weather.call(self.name, operation, act)
        return answer
