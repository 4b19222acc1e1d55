"""One call of GitHub's API: its deadline, its retry rules, its errors."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import aiohttp
import stamina

from sidecar import __version__, values
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from sidecar.github.credentials import Credential
    from sidecar.github.scope import Scope

CALL = aiohttp.ClientTimeout(total=10.0, connect=5.0)
"""Seconds for one try."""
TRIES = 6
LONGEST_BODY = 1 << 20
UNTOLD_LIMIT = 60.0
"""Seconds to wait where GitHub limits without saying for how long, doubling from there."""


class GitHubError(SidecarError):
    """GitHub answered what no retry would change."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.tries = 1
        """How many it took: an earlier one may have been heard, and only its answer lost."""


class Denied(GitHubError):
    """The credential does not reach this far: 401, 403, or the 404 that hides things."""


class Passing(GitHubError):
    """No answer, or one that may be another the next time."""


class Limited(Passing):
    """Too many requests; `seconds` is how long GitHub wants to be left alone, None if untold."""

    def __init__(self, message: str, status: int, seconds: float | None) -> None:
        super().__init__(message, status)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and decoded body (None where there is none)."""

    status: int
    body: Any


class Api:
    """Calls GitHub as somebody."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        scope: Scope,
        credential: Credential,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._scope = scope
        self._credential = credential
        self._now = now

    async def call(
        self,
        method: str,
        path: str,
        *,
        expects: Mapping[int, type[GitHubError] | None],
        body: object = None,
        tries: int | None = TRIES,
    ) -> Answer:
        """Call until there is an answer that counts; `expects` says which status means what.

        A status mapped to None is a success; one mapped to an error class is raised as that.
        Raises Denied or GitHubError at once for any other answer, Passing after `tries`.
        """
        async for attempt in stamina.retry_context(on=patient(), attempts=tries, timeout=None):
            with attempt:
                try:
                    return await self._once(method, path, expects, body)
                except GitHubError as error:
                    error.tries = attempt.num
                    raise
        raise AssertionError  # retry_context returns or raises

    async def _once(
        self, method: str, path: str, expects: Mapping[int, type[GitHubError] | None], body: object
    ) -> Answer:
        answer, headers = await self._asked(method, path, body)
        if answer.status == 401 and self._credential.forget():
            answer, headers = await self._asked(method, path, body)  # with a new token
        if answer.status in expects:
            wrong = expects[answer.status]
            if wrong is not None:
                raise wrong(_text(method, path, answer), answer.status)
            return answer
        raise self._error(method, path, answer, headers)

    async def _asked(
        self, method: str, path: str, body: object
    ) -> tuple[Answer, Mapping[str, str]]:
        token = await self._credential.token(self._bare, self._scope)
        return await self._send(method, path, token, body)

    async def _bare(self, method: str, path: str, token: str) -> Answer:
        """Make one call with the given token; what a credential mints itself with."""
        answer, headers = await self._send(method, path, token, None)
        if answer.status >= 300 and answer.status != 404:
            raise self._error(method, path, answer, headers)
        return answer

    async def _send(
        self, method: str, path: str, token: str, body: object
    ) -> tuple[Answer, Mapping[str, str]]:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "User-Agent": f"ecs-runner-sidecar/{__version__}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        try:
            async with self._session.request(
                method,
                self._scope.api + path,
                headers=headers,
                json=body,
                timeout=CALL,
                allow_redirects=False,
            ) as response:
                raw = await _body(response)
                return Answer(response.status, await _decoded(raw, response)), response.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise Passing(f"cannot {method} {path} at {self._scope.api}: {why}") from error

    def _error(
        self, method: str, path: str, answer: Answer, headers: Mapping[str, str]
    ) -> GitHubError:
        text = _text(method, path, answer)
        if answer.status == 429 or (answer.status == 403 and _limited(answer, headers)):
            return Limited(text, answer.status, self._pause(headers))
        if answer.status >= 500 or answer.status == 408:
            return Passing(text, answer.status)
        if answer.status in (401, 403, 404):
            return Denied(text, answer.status)
        return GitHubError(text, answer.status)

    def _pause(self, headers: Mapping[str, str]) -> float | None:
        """Read how long to wait: `retry-after`, else until the limit's reset."""
        try:
            if "retry-after" in headers:
                seconds = float(headers["retry-after"])
                return seconds if math.isfinite(seconds) and seconds >= 0 else None
            if headers.get("x-ratelimit-remaining") == "0":
                return max(0.0, float(headers["x-ratelimit-reset"]) - self._now())
        except (KeyError, ValueError):
            pass
        return None


async def _body(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.readexactly(LONGEST_BODY)  # read() may give a part
    except asyncio.IncompleteReadError as whole:
        return whole.partial


async def _decoded(raw: bytes, response: aiohttp.ClientResponse) -> Any:
    import json

    if not raw.strip():
        return None
    try:
        return json.loads(raw)
    except ValueError:
        if response.status < 300:
            raise
        return {"message": raw[:200].decode(errors="replace")}


def _limited(answer: Answer, headers: Mapping[str, str]) -> bool:
    return (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in _message(answer).lower()
    )


def _text(method: str, path: str, answer: Answer) -> str:
    message = _message(answer)
    told = f": {message}" if message else ""
    return f"cannot {method} {path}: GitHub answers {answer.status}{told}"


def _message(answer: Answer) -> str:
    return str(answer.body.get("message", ""))[:300] if isinstance(answer.body, dict) else ""


def field_of(body: Any, name: str, kind: type = object) -> Any:
    """Take one field out of an answer; raises Passing where the answer is not what it should be."""
    found = body.get(name) if isinstance(body, dict) else None
    if found is None or not isinstance(found, kind):
        raise Passing(f"GitHub's answer holds no {name}")
    return found


def number_of(body: Any, name: str) -> int:
    """Take a number out of an answer."""
    return int(field_of(body, name, int))


def moment_of(body: Any, name: str) -> datetime:
    """Take a moment out of an answer."""
    try:
        moment = values.moment(field_of(body, name, str))
    except ValueError:
        raise Passing(f"GitHub's answer holds no moment in {name}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def patient() -> Callable[[Exception], bool | float]:
    """Make a stamina backoff hook: as long as GitHub says, else growing pauses with jitter."""
    ceiling, untold = 1.0, UNTOLD_LIMIT

    def pause(error: Exception) -> bool | float:
        nonlocal ceiling, untold
        if isinstance(error, Limited):
            if error.seconds is not None:
                return error.seconds + random.uniform(0.1, 1.0)  # noqa: S311
            now, untold = untold, 2 * untold
            return now + random.uniform(0, 5)  # noqa: S311
        if isinstance(error, Passing):
            now, ceiling = ceiling, min(15.0, 2 * ceiling)
            return random.uniform(now / 2, now)  # noqa: S311
        return False

    return pause
