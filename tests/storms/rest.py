"""GitHub's REST API under the launcher's client: what stands for aiohttp's session."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from tests.storms.clock import now

if TYPE_CHECKING:
    from tests.storms.calls import Weather
    from tests.storms.github import GitHub

SERVICE = "github"


class Session:
    """Stands for aiohttp's session."""

    def __init__(self, github: GitHub, weather: Weather) -> None:
        self._github, self._weather = github, weather
        self.closed = False

    async def close(self) -> None:
        """Close it."""
        self.closed = True

    def request(self, method: str, url: str, **given: Any) -> _Request:
        """Make one request."""
        return _Request(self._github, self._weather, method, str(url), given)


class _Request:
    """One request, and its answer."""

    def __init__(
        self, github: GitHub, weather: Weather, method: str, url: str, given: dict[str, Any]
    ) -> None:
        self._github, self._weather = github, weather
        self._method, self._url, self._given = method, url, given
        self.status, self.headers, self.content = 0, {}, self
        self._body = b""

    async def __aenter__(self) -> _Request:
        try:
            async with asyncio.timeout(self._given["timeout"].total):
                await self._answer()
        except TimeoutError:
            raise TimeoutError("GitHub does not answer") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def readexactly(self, _: int) -> bytes:
        """Read the body, which is always shorter than the longest that is read."""
        raise asyncio.IncompleteReadError(self._body, None)

    async def _answer(self) -> None:
        await self._weather.wait()
        fate = self._weather.draw(SERVICE)
        if fate is not None:
            self._weather.note(f"{self._method} {urlsplit(self._url).path}: {fate}")
        if self._is_refused(fate):
            return
        self.status, body = self._github.answer(self._method, self._url, self._given.get("json"))
        await self._wait_after(fate)
        self._body = b"" if body is None else json.dumps(body).encode()
        self.headers = {
            "x-ratelimit-limit": "5000",
            "x-ratelimit-remaining": str(self._github.remaining),
            "x-ratelimit-reset": str(int(self._github.resets_at or now() + 1800)),
        }
        await self._weather.wait()

    def _is_refused(self, fate: str | None) -> bool:
        """Refuse it before it has done anything."""
        if fate == "unreachable":
            raise aiohttp.ClientConnectionError("cannot connect")
        pause = self._github.limit(self._method)
        if pause > 0:
            self._weather.refused[SERVICE] += 1
        elif fate not in ("500", "throttled"):
            return False
        self.status, self._body = 502, b'{"message": "Server Error"}'
        if fate != "500":
            self.status = 403
            self.headers = {"retry-after": f"{pause + 0.5 if pause else 20:.0f}"}
            self._body = b'{"message": "You have exceeded a secondary rate limit"}'
        return True

    async def _wait_after(self, fate: str | None) -> None:
        """Let the answer of what is done be lost, or late."""
        if fate == "lost":
            raise aiohttp.ServerDisconnectedError
        if fate == "silent":
            await asyncio.sleep(3600)
        if fate == "slow":
            await asyncio.sleep(self._weather.chance.uniform(1, 6))
