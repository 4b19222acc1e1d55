"""Make one call to GitHub's runner services: with a deadline, bounds, retries and typed errors."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from sidecar import __version__
from sidecar.github import api
from sidecar.github.answers import LONGEST_BODY, LONGEST_TEXT, decode
from sidecar.github.errors import GitHubError, TransientError
from sidecar.github.refusals import make_error
from sidecar.net.deadlines import describe_failure
from sidecar.net.proxy import find_proxy
from sidecar.net.retry import call_with_retries
from sidecar.net.trust import make_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.net.retry import Backoff

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """An answer: its status, its JSON (None: no body), and the call that it belongs to."""

    call: str
    """Method and URL without the query, for messages."""
    status: int
    body: Any = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def fields(self) -> dict[str, Any]:
        """The body's fields by lower-case name (the services differ in case); none if no object."""
        body = self.body if isinstance(self.body, dict) else {}
        return {str(name).lower(): value for name, value in body.items()}

    @property
    def message(self) -> str:
        """The answer's own words: `message` of REST, tenant and broker, or the OAuth fields."""
        fields = self.fields
        words = (fields.get(name) for name in ("message", "error", "error_description"))
        return ": ".join(word for word in words if isinstance(word, str) and word)[:LONGEST_TEXT]

    @property
    def exception(self) -> str:
        """The service's exception, "" if none: `typeKey`, or `typeName` as Namespace.Name, Dll."""
        names = (self.fields.get(name) for name in ("typekey", "typename"))
        return " ".join(name for name in names if isinstance(name, str))

    def text(self) -> str:
        """Describe the answer for an error; GitHub's support asks for the request's id."""
        message = f": {self.message}" if self.message else ""
        number = self.headers.get("x-github-request-id") or self.headers.get("activityid")
        request = f" (request {number[:LONGEST_TEXT]})" if number else ""
        return f"cannot {self.call}: GitHub answers {self.status}{message}{request}"

    def error(self) -> GitHubError:
        """Make the error that a status means where the call gives it no meaning of its own."""
        return make_error(self.text(), self.status, self.message, self.headers, time.time())


class ServiceCalls:
    """The HTTP client behind the runner services; open it with `async with`.

    It takes proxies from the environment, as the REST client does. It does not read `~/.netrc`
    (aiohttp's `trust_env` does): where agent and job are one user, a job could write there.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ServiceCalls:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        url: str,
        read: Callable[[ServiceAnswer], T],
        *,
        authorization: str | None = None,
        document: object = None,
        form: Mapping[str, str] | None = None,
        tries: int | None = None,
        backoff: Backoff | None = None,
    ) -> T:
        """Call until `read` returns a value; `read` raises what an answer means.

        Raises TransientError or RateLimited after `tries` (default: those of the REST client), any
        other GitHubError at once. `backoff` replaces the retry policy of the REST client.
        """
        count = 0

        async def call() -> T:
            nonlocal count
            count += 1
            try:
                return read(await self._send(method, url, authorization, document, form))
            except GitHubError as error:
                error.tries = count
                raise

        return await call_with_retries(call, backoff or api.backoff(), tries=tries or api.TRIES)

    async def _send(
        self,
        method: str,
        url: str,
        authorization: str | None,
        document: object,
        form: Mapping[str, str] | None,
    ) -> ServiceAnswer:
        assert self._session is not None, "open it first"  # noqa: S101
        headers = {"Accept": "application/json", "User-Agent": f"ecs-runner-sidecar/{__version__}"}
        if authorization is not None:
            headers["Authorization"] = authorization
        call = f"{method} {url.partition('?')[0]}"
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                json=document,
                data=form,
                timeout=api.CALL,
                allow_redirects=False,
                ssl=make_context(),
                **find_proxy(url),
            ) as response:
                body = _decode(call, response.status, await _read(call, response))
                return ServiceAnswer(call, response.status, body, response.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"cannot {call}: {describe_failure(error, api.CALL)}") from error


async def _read(call: str, response: aiohttp.ClientResponse) -> bytes:
    parts, length = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        length += len(part)
        if length > LONGEST_BODY:
            raise TransientError(f"cannot {call}: GitHub's answer is too long", response.status)
    return b"".join(parts)


def _decode(call: str, status: int, raw: bytes) -> Any:
    try:
        return decode(raw, status)
    except ValueError as error:
        raise TransientError(f"cannot {call}: {error}", status) from None
