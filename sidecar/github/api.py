"""Make one call of GitHub's API: its deadline, its retry policy, its errors."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import aiohttp
import structlog

from sidecar import __version__
from sidecar.github.answers import Answer, read_answer
from sidecar.github.errors import ClockRefused, GitHubError, RateLimited, TransientError
from sidecar.github.refusals import make_error
from sidecar.net.clock import find_clock_error
from sidecar.net.deadlines import describe_failure
from sidecar.net.proxy import find_proxy
from sidecar.net.retry import as_peer_says, at_least, call_with_retries, first_of, growing
from sidecar.net.trust import make_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.github.credentials import Credential
    from sidecar.github.scope import Scope
    from sidecar.net.retry import Backoff

    Meanings = Mapping[int, type[GitHubError] | None]
    """What a status means: None for success, else the error to raise."""

log = structlog.get_logger()

CALL = aiohttp.ClientTimeout(total=10.0, connect=5.0)
"""Seconds for one try."""
TRIES = 6
REDIRECTS, MOST_REDIRECTS = (301, 302, 307, 308), 4
"""GitHub asks to repeat the same request elsewhere (REST, "Follow redirects"); requests of one
call, at most."""
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
        self.moved_to: str | None = None
        """The path that GitHub redirected a call to last: what is called has a new name."""
        self.limit = 5000
        """The calls of an hour, as GitHub said last; as many a personal token has."""
        self.resets_at = 0.0
        """When all of them are there again, in seconds since 1970."""

    async def call(
        self,
        method: str,
        path: str,
        *,
        expects: Meanings,
        body: object = None,
        etag: str | None = None,
        tries: int | None = TRIES,
    ) -> Answer:
        """Call until there is an answer that counts; `expects` says what each status means.

        With the `etag` of an earlier answer, GitHub answers 304 where nothing has changed since.
        A status mapped to None is a success; one mapped to an error class raises that. Raises
        PermissionDenied or GitHubError at once for any other answer, TransientError after `tries`.
        """
        count = 0

        async def call() -> Answer:
            nonlocal count
            count += 1
            try:
                return await self._call_once(method, path, expects, body, etag)
            except GitHubError as error:
                error.tries = count
                raise

        return await call_with_retries(call, backoff(), tries=tries)

    async def _call_once(
        self, method: str, path: str, expects: Meanings, body: object, etag: str | None
    ) -> Answer:
        answer, headers = await self._send_with_credential(method, path, body, etag)
        if answer.status == 401 and self._credential.forget():
            # The next token is a new one.
            answer, headers = await self._send_with_credential(method, path, body, etag)
        if answer.status not in expects:
            raise self._error(method, path, answer, headers)
        if (error := expects[answer.status]) is not None:
            raise error(_describe(method, path, answer), answer.status)
        return answer

    async def _send_with_credential(
        self, method: str, path: str, body: object, etag: str | None
    ) -> tuple[Answer, Mapping[str, str]]:
        token = await self._credential.token(self.call_with_token, self._scope)
        return await self._send(method, path, token, body, etag)

    async def call_with_token(self, method: str, path: str, token: str) -> Answer:
        """Make one call with the given token; a credential gets its own tokens with this."""
        answer, headers = await self._send(method, path, token, None)
        if answer.status == 401 and (wrong := find_clock_error(headers, self._now(), "GitHub")):
            raise ClockRefused(f"{_describe(method, path, answer)}: {wrong}", answer.status)
        if answer.status >= 300 and answer.status != 404:
            raise self._error(method, path, answer, headers)
        return answer

    async def _send(
        self, method: str, path: str, token: str, body: object, etag: str | None = None
    ) -> tuple[Answer, Mapping[str, str]]:
        """Send a request, and again where GitHub says that it has another place (a new name)."""
        target = path
        for _ in range(MOST_REDIRECTS):
            answer, headers = await self._send_once(method, target, token, body, etag)
            if answer.status not in REDIRECTS or not headers.get("location"):
                break
            target = self._find_target(method, path, headers["location"])
        return answer, headers

    def _find_target(self, method: str, path: str, location: str) -> str:
        """Return the path that a redirect leads to. Raises GitHubError if it leads elsewhere.

        Then the credential is not sent there.
        """
        base = self._scope.api
        url = urljoin(base + path, location)
        if not url.startswith(f"{base}/") or "\\" in url:
            where = urlsplit(url).netloc
            raise GitHubError(
                f"cannot {method} {path}: GitHub redirects it to {where or 'nowhere'}"
            )
        if self.moved_to is None:
            advice = "the repository or its owner has a new name; change the URL that is set"
            log.warning("github.redirected", path=path, to=url.removeprefix(base), advice=advice)
        self.moved_to = url.removeprefix(base)
        return self.moved_to

    async def _send_once(
        self, method: str, path: str, token: str, body: object, etag: str | None
    ) -> tuple[Answer, Mapping[str, str]]:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "User-Agent": f"ecs-runner-sidecar/{__version__}",
            "X-GitHub-Api-Version": "2022-11-28",
            **({"If-None-Match": etag} if etag is not None else {}),
        }
        url = self._scope.api + path
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                json=body,
                timeout=CALL,
                allow_redirects=False,
                ssl=make_context(),
                **find_proxy(url),
            ) as response:
                self._read_limit(response.headers)
                return await read_answer(response), response.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = describe_failure(error, CALL)
            text = f"cannot {method} {path} at {self._scope.api}: {reason}"
            raise TransientError(text) from error

    def _read_limit(self, headers: Mapping[str, str]) -> None:
        limit, left = headers.get("x-ratelimit-limit"), headers.get("x-ratelimit-remaining")
        if limit and left and limit.isdecimal() and left.isdecimal() and int(limit):
            self.limit, self.left = int(limit), int(left) / int(limit)
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
