"""Fetch the task role's credentials from the ECS agent, or from another container endpoint.

The protocol is that of the AWS SDKs' container credential provider: `GET`, optionally with an
`Authorization` header, answered by JSON with `AccessKeyId`, `SecretAccessKey`, `Token` and
`Expiration`. The ECS agent adds `RoleArn`; other endpoints may add `AccountId`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import aiohttp

from sidecar import host
from sidecar.errors import RelayError
from sidecar.net.marked_sockets import connector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ECS_AGENT = "http://169.254.170.2"
RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
"""The variable that holds a path at the ECS agent's address."""
# The hosts that SDKs send the authorization to without TLS: loopback, the ECS agent, and the EKS
# Pod Identity agent by both of its addresses.
_PLAIN_HTTP_HOSTS = frozenset(
    {"127.0.0.1", "::1", "localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"}
)
_LARGEST_ANSWER = 64 * 1024
_LARGEST_RENDERED = 10_000
"""Bytes; some SDKs stop reading a credential answer there."""
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")
_CODE = re.compile(r"[A-Za-z]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One credential endpoint. Its URL is as secret as its answer."""

    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    variable: str = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    """The variable to check when it does not work."""
    so_mark: bool = False
    """Whether it is asked on SO_MARK sockets, which no rule for jobs redirects."""

    @classmethod
    def from_variables(
        cls,
        *,
        relative_uri: str | None = None,
        full_uri: str | None = None,
        authorization: str | None = None,
        token_file: str | None = None,
    ) -> Endpoint | None:
        """Return the endpoint that the `AWS_CONTAINER_*` variables' values name, if any.

        As in most SDKs the relative URI wins over the full one, and the token file over the
        token. Raises RelayError for values that no SDK would use either.
        """
        file = Path(token_file) if token_file else None
        if relative_uri:
            variable = RELATIVE_URI
            if not relative_uri.startswith("/") or not _VISIBLE.match(relative_uri):
                raise RelayError(f"cannot relay credentials: {variable} is not a path")
            return cls(ECS_AGENT + relative_uri, authorization or None, file, variable)
        if full_uri:
            _check_uri(full_uri)
            return cls(full_uri, authorization or None, file)
        return None

    @property
    def where(self) -> str:
        """Host and port: the only part of the URL that may be shown."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def advice(self) -> str:
        """Say what to change when it does not work."""
        return f"check {self.variable}, or set SIDECAR_RELAY=off to go without"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Fetch]:
        """Open an HTTP session; yield the function that fetches with it."""
        async with aiohttp.ClientSession(
            trust_env=False,  # a proxy must never see these requests
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=connector(so_mark=self.so_mark, limit=1, force_close=True),
            auto_decompress=False,
        ) as session:
            yield lambda now, timeout: fetch(session, self, now=now, timeout=timeout)


def _check_uri(uri: str) -> None:
    variable = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RelayError(f"cannot relay credentials: {variable} is not a URL") from error
    if parts.scheme not in ("http", "https") or not host or not _VISIBLE.match(uri):
        raise RelayError(f"cannot relay credentials: {variable} is not an http or https URL")
    if parts.scheme == "http" and host not in _PLAIN_HTTP_HOSTS:
        raise RelayError(
            f"cannot relay credentials: {variable} names {host} over plain http "
            f"(use https, or one of {', '.join(sorted(_PLAIN_HTTP_HOSTS))})"
        )


@dataclass(frozen=True, slots=True)
class Credentials:
    """One version of the task role's credentials, and the body that the relay answers."""

    access_key_id: str = field(repr=False)
    expires_at: float
    """Seconds since the epoch."""
    role_arn: str | None
    body: bytes = field(repr=False)

    @property
    def key_end(self) -> str:
        """The key id's last four characters: the only part of it that may be shown."""
        return self.access_key_id[-4:]


class UpstreamError(Exception):
    """A fetch failed; the text says why and holds no secret."""


class UnavailableError(UpstreamError):
    """A fetch failed, and may work in a moment: unreachable, throttled, or a broken answer."""


class RejectedError(UpstreamError):
    """A fetch failed, and another one soon would not help."""


Fetch = Callable[[float, float], Awaitable[Credentials]]
"""Fetches once, given the time now and the seconds that it may take; raises UpstreamError."""


class CredentialsSource(Protocol):
    """A source of credentials to relay."""

    @property
    def where(self) -> str:
        """Name this source in a log."""

    @property
    def advice(self) -> str:
        """Say what to change when it does not work."""

    def connected(self) -> AbstractAsyncContextManager[Fetch]:
        """Prepare to fetch; yield the function that does."""


async def fetch(
    session: aiohttp.ClientSession, endpoint: Endpoint, *, now: float, timeout: float
) -> Credentials:
    """Fetch once, for at most `timeout` seconds. Raises UnavailableError or RejectedError."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if (authorization := _authorization(endpoint)) is not None:
        headers["Authorization"] = authorization
    try:
        async with session.get(
            endpoint.url,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout),
        ) as answer:
            body = await _read_body(answer.content)
            status = answer.status
    except TimeoutError as error:
        raise UnavailableError(f"{endpoint.where} did not answer within {timeout:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnavailableError(f"cannot reach {endpoint.where}: {reason(error)}") from error
    if status != 200:
        raise _failure(endpoint, status, body)
    return parse_credentials(body, now=now, where=endpoint.where)


def _authorization(endpoint: Endpoint) -> str | None:
    """Return the header's value; a token file is read each time, since it is rotated."""
    value = endpoint.authorization
    if endpoint.token_file is not None:
        variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
        try:
            content = host.read_given(endpoint.token_file, _LARGEST_ANSWER)
        except OSError as error:
            raise UnavailableError(f"cannot read {variable}: {reason(error)}") from error
        value = content.decode("latin-1").rstrip("\r\n")
        if not value:
            raise UnavailableError(f"cannot use {variable}: the file is empty")
    if value is not None and any(sign in value for sign in "\r\n\0"):
        raise RejectedError("cannot use the authorization token: it holds more than one line")
    return value


async def _read_body(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while chunk := await content.read(_LARGEST_ANSWER):
        body += chunk
        if len(body) > _LARGEST_ANSWER:
            raise UnavailableError(f"answered more than {_LARGEST_ANSWER} bytes")
    return body


def reason(error: Exception) -> str:
    """Return why a socket or a file failed, without its address."""
    if isinstance(error, OSError) and error.errno is not None:
        return host.explain_error(error)
    return type(error).__name__


def _failure(endpoint: Endpoint, status: int, body: bytes) -> UpstreamError:
    code = _document(body).get("code") or _document(body).get("Code")
    what = f"{status} {code}" if isinstance(code, str) and _CODE.match(code) else f"{status}"
    text = f"{endpoint.where} answered {what}"
    if status == 429 or status >= 500:
        return UnavailableError(text)
    if status in (401, 403):
        text += " (AWS_CONTAINER_AUTHORIZATION_TOKEN or its _FILE)"
    return RejectedError(text)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def parse_credentials(body: bytes, *, now: float, where: str) -> Credentials:
    """Parse an answer, and write it in the one form that every SDK reads.

    Raises UnavailableError, also for expired credentials, which the ECS agent is known to answer.
    """
    document = _document(body)
    texts = {
        name: value
        for name in (
            "RoleArn",
            "AccessKeyId",
            "SecretAccessKey",
            "Token",
            "Expiration",
            "AccountId",
        )
        if isinstance(value := document.get(name), str) and _VISIBLE.match(value)
    }
    missing = {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"} - texts.keys()
    if missing:
        raise UnavailableError(f"{where} answered without a usable {', '.join(sorted(missing))}")
    expires = _moment(texts["Expiration"], where)
    if expires.timestamp() <= now:
        raise UnavailableError(f"{where} answered credentials that have expired")
    # Some SDKs cannot read `+00:00` and fractions; the order of keys is the ECS agent's.
    texts["Expiration"] = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    rendered = json.dumps(texts, separators=(",", ":")).encode()
    if len(rendered) >= _LARGEST_RENDERED:
        raise UnavailableError(f"{where} answered credentials of {len(rendered)} bytes")
    return Credentials(texts["AccessKeyId"], expires.timestamp(), texts.get("RoleArn"), rendered)


def _moment(text: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC, microsecond=0).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnavailableError(f"{where} answered an Expiration that is no date") from error
