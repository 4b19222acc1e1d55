"""Make one call of GitHub's API: its deadline, its retry policy, its errors."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import aiohttp

from sidecar import __version__
from sidecar.github.answers import Answer, read_answer
from sidecar.github.errors import GitHubError, RateLimited, TransientError
from sidecar.github.refusals import make_error
from sidecar.net.proxy import find_proxy
from sidecar.net.retry import as_peer_says, at_least, call_with_retries, first_of, growing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.github.credentials import Credential
    from sidecar.github.scope import Scope
    from sidecar.net.retry import Backoff

    Meanings = Mapping[int, type[GitHubError] | None]
    """What a status means: None for success, else the error to raise."""

CALL = aiohttp.ClientTimeout(total=10.0, connect=5.0)
"""Seconds for one try."""
TRIES = 6
DEFAULT_LIMIT = 60.0
"""Seconds to pause, at first, where GitHub limits the rate without saying for how long."""


class Api:
    """Calls of GitHub's API with one credential."""

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
        self.left = 1.0
        """The share of the hour's calls that is left, as GitHub said last."""
        self.resets_at = 0.0
        """When all of them are there again, in seconds since 1970."""

    async def call(
        self,
        method: str,
        path: str,
        *,
        expects: Meanings,
        body: object = None,
        tries: int | None = TRIES,
    ) -> Answer:
        """Call until there is an answer that counts; `expects` says what each status means.

        A status mapped to None is a success; one mapped to an error class raises that. Raises
        PermissionDenied or GitHubError at once for any other answer, TransientError after `tries`.
        """
        count = 0

        async def call() -> Answer:
            nonlocal count
            count += 1
            try:
                return await self._call_once(method, path, expects, body)
            except GitHubError as error:
                error.tries = count
                raise

        return await call_with_retries(call, backoff(), tries=tries)

    async def _call_once(self, method: str, path: str, expects: Meanings, body: object) -> Answer:
        answer, headers = await self._send_with_credential(method, path, body)
        if answer.status == 401 and self._credential.forget():
            # The next token is a new one.
            answer, headers = await self._send_with_credential(method, path, body)
        if answer.status not in expects:
            raise self._error(method, path, answer, headers)
        if (error := expects[answer.status]) is not None:
            raise error(_describe(method, path, answer), answer.status)
        return answer

    async def _send_with_credential(
        self, method: str, path: str, body: object
    ) -> tuple[Answer, Mapping[str, str]]:
        token = await self._credential.token(self.call_with_token, self._scope)
        return await self._send(method, path, token, body)

    async def call_with_token(self, method: str, path: str, token: str) -> Answer:
        """Make one call with the given token; a credential gets its own tokens with this."""
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
        url = self._scope.api + path
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                json=body,
                proxy=find_proxy(url),
                timeout=CALL,
                allow_redirects=False,
            ) as response:
                self._read_limit(response.headers)
                return await read_answer(response), response.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            text = f"cannot {method} {path} at {self._scope.api}: {reason}"
            raise TransientError(text) from error

    def _read_limit(self, headers: Mapping[str, str]) -> None:
        limit, left = headers.get("x-ratelimit-limit"), headers.get("x-ratelimit-remaining")
        if limit and left and limit.isdecimal() and left.isdecimal() and int(limit):
            self.left = int(left) / int(limit)
            reset = headers.get("x-ratelimit-reset", "")
            self.resets_at = float(reset) if reset.isdecimal() else 0.0

    def _error(
        self, method: str, path: str, answer: Answer, headers: Mapping[str, str]
    ) -> GitHubError:
        text = _describe(method, path, answer)
        return make_error(text, answer.status, answer.message, headers, self._now())


def _describe(method: str, path: str, answer: Answer) -> str:
    message = f": {answer.message}" if answer.message else ""
    return f"cannot {method} {path}: GitHub answers {answer.status}{message}"


def backoff() -> Backoff:
    """Make the retry policy for GitHub: pause as long as it says, else longer each time."""
    return first_of(
        as_peer_says(lambda error: error.seconds if isinstance(error, RateLimited) else None),
        at_least(RateLimited, first=DEFAULT_LIMIT, longest=math.inf),
        growing(TransientError, first=1.0, longest=15.0),
    )
