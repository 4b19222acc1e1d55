"""Ask the docker engine's HTTP API, and remove what a job has created there."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from sidecar import host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

DEFAULT_SOCKET = host.DOCKER_PLACE
DEADLINE = 2.0
"""Seconds for one call: the engine is on the same machine."""
DELETE_DEADLINE = 15.0
"""Seconds to remove one object: the engine kills a container first."""
MAX_ANSWER = 8 << 20
"""Bytes of an answer that are read. A job can give what it makes labels of any length."""
MAX_EVENT = 64 << 10
"""Bytes of an event that are read; it has the labels too."""
_SMALL_ANSWER = 64 << 10
"""Bytes of an answer that is parsed at once, in the event loop."""


class EngineError(Exception):
    """The engine did not answer, or not in the expected form; the text says why."""


class Refused(EngineError):
    """The engine answered with an error; the text has its own words."""

    def __init__(self, text: str, status: int = 500, words: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.words = words


class NotFound(Refused):
    """The engine knows no such object."""


class AnswerTooLong(EngineError):
    """The engine's answer has more bytes than are read."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One docker engine, by its address."""

    host: str
    """As in DOCKER_HOST: `unix:///path`, `npipe:////./pipe/name` or `tcp://host:port`."""
    _session: aiohttp.ClientSession | None = field(default=None, compare=False, repr=False)

    @classmethod
    def find(cls, docker_host: str | None, default: str | None = None) -> Engine | None:
        """Return the engine that a docker client would use; None if nothing names one.

        `docker_host` is DOCKER_HOST. `default` is the default socket's path; it must exist.
        """
        if docker_host:
            return cls(docker_host)
        path = Path(default or DEFAULT_SOCKET)
        address = host.find_docker(path)
        return None if address is None else cls(address)

    @property
    def socket(self) -> Path | None:
        """The path of its socket; None if it is reached by the network."""
        parts = urlsplit(self.host)
        return Path(parts.path) if parts.scheme == "unix" else None

    @property
    def pipe(self) -> str | None:
        """The path of its named pipe, which docker has on Windows; None if it has none."""
        parts = urlsplit(self.host)
        return parts.path.replace("/", "\\") if parts.scheme == "npipe" else None

    @property
    def hostname(self) -> str | None:
        """The name or address of its machine; None if it is reached by a socket or a pipe."""
        return None if self.socket is not None else urlsplit(self.host).hostname

    async def get(self, path: str) -> Any:
        """Return the decoded JSON of `GET path`. Raises EngineError.

        The path names no version of the API: the engine then uses its newest.
        """
        async with self._request(path, {}, aiohttp.ClientTimeout(total=DEADLINE)) as response:
            body = await _read_body(response, self.host)
            if len(body) <= _SMALL_ANSWER:
                return json.loads(body)
            return await asyncio.to_thread(json.loads, body)

    async def post(self, path: str, fields: object) -> Any:
        """Return the decoded JSON of `POST path`, which sends `fields` as JSON.

        Raises EngineError, with the engine's own words.
        """
        answer = await self.send(path, json.dumps(fields).encode(), "application/json")
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError as error:
            raise EngineError(f"{self.host} answered no JSON to {path}") from error

    async def send(
        self, path: str, body: bytes, kind: str, *, deadline: float | None = DEADLINE
    ) -> bytes:
        """Return the body of the answer to `POST path`, which sends a body of that kind.

        Without a `deadline`, the engine may take as long as it does for its other clients. Raises
        EngineError, with the engine's own words.
        """
        timeout = aiohttp.ClientTimeout(total=deadline, sock_connect=DEADLINE)
        request = self._request(path, {}, timeout, method="POST", body=body, kind=kind)
        async with request as response:
            return await _read_body(response, self.host)

    async def read(self, path: str) -> bytes:
        """Return the bytes of `GET path`, which need not be JSON. Raises EngineError."""
        async with self._request(path, {}, aiohttp.ClientTimeout(total=DEADLINE)) as response:
            return await _read_body(response, self.host)

    async def delete(self, path: str) -> None:
        """Remove an object. Raises EngineError, with the engine's own words if it does not."""
        timeout = aiohttp.ClientTimeout(total=DELETE_DEADLINE)
        async with self._request(path, {}, timeout, method="DELETE") as response:
            await response.read()

    async def events(
        self, filters: Mapping[str, list[str]], *, since: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of `GET /events` until the engine ends them.

        With `since`, in seconds since the epoch, the events after that time come first. The wait
        for the next event has no deadline. Always ends with EngineError; with AnswerTooLong if an
        event is longer than is read, which the caller treats as a gap.
        """
        query = {"filters": json.dumps(filters)}
        if since is not None:
            query["since"] = str(since)
        no_deadline = aiohttp.ClientTimeout(total=None, sock_connect=DEADLINE)
        async with self._request("/events", query, no_deadline) as response:
            async for line in _read_lines(response, self.host):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event
        raise EngineError(f"{self.host} ended its events")

    @asynccontextmanager
    async def open_session(self) -> AsyncIterator[Engine]:
        """Yield the same engine with a session that its calls share within the block.

        A new session takes a millisecond to make, so this saves time on frequent calls.
        """
        async with self._new_session() as session:
            yield replace(self, _session=session)

    def _new_session(self) -> aiohttp.ClientSession:
        connector: aiohttp.BaseConnector
        if self.pipe is None:
            connector = aiohttp.UnixConnector(str(self.socket))
        else:
            try:
                connector = aiohttp.NamedPipeConnector(self.pipe)
            except (AttributeError, RuntimeError) as error:  # the event loop knows no pipes
                raise EngineError(f"{self.host} cannot be asked: no named pipes here") from error
        return aiohttp.ClientSession(connector=connector, trust_env=False)

    @asynccontextmanager
    async def _request(
        self,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        *,
        method: str = "GET",
        body: bytes | None = None,
        kind: str = "",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self.socket is None and self.pipe is None:
            raise EngineError(f"{self.host} is no socket")
        try:
            async with (
                nullcontext(self._session) if self._session else self._new_session() as session,
                session.request(
                    method,
                    f"http://docker{path}",
                    params=query,
                    timeout=timeout,
                    data=body,
                    headers={"Content-Type": kind} if kind else None,
                ) as response,
            ):
                if not 200 <= response.status < 300:
                    error_type = NotFound if response.status == 404 else Refused
                    words = "" if method == "GET" else await _read_message(response)
                    text = f"{self.host} answered {response.status} to {path}"
                    text += f": {words}" if words else ""
                    raise error_type(text, response.status, words)
                yield response
        except TimeoutError as error:
            seconds = timeout.total or DEADLINE
            raise EngineError(f"{self.host} did not answer within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise EngineError(f"{self.host} cannot be asked: {reason.lower()}") from error

    async def networks(self) -> list[dict[str, Any]]:
        """Return the networks of `GET /networks`. Raises EngineError."""
        networks = await self.get("/networks")
        if not isinstance(networks, list):
            raise EngineError(f"{self.host} listed no networks")
        return [network for network in networks if isinstance(network, dict)]

    async def makes_bridges_late(self) -> bool:
        """Return whether the engine is podman, which makes a bridge with its first container.

        Raises EngineError.
        """
        version = await self.get("/version")
        components = version.get("Components") if isinstance(version, dict) else None
        names = [one.get("Name") for one in components or () if isinstance(one, dict)]
        return any(str(name).startswith("Podman") for name in names)


async def _read_body(response: aiohttp.ClientResponse, name: str) -> bytes:
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > MAX_ANSWER:
            raise AnswerTooLong(f"{name} answered with more than {MAX_ANSWER} bytes")
    return bytes(body)


async def _read_lines(response: aiohttp.ClientResponse, name: str) -> AsyncIterator[bytes]:
    # Not by aiohttp's own readline: its error for a long line is none of its ClientErrors.
    rest = b""
    async for data in response.content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if len(line) > MAX_EVENT:
                raise AnswerTooLong(f"{name} reported an event of more than {MAX_EVENT} bytes")
            yield line
        if len(rest) > MAX_EVENT:
            raise AnswerTooLong(f"{name} reported an event of more than {MAX_EVENT} bytes")
    if rest:
        yield rest


async def _read_message(response: aiohttp.ClientResponse) -> str:
    """Return what the engine says about an error."""
    try:
        fields = await response.json(content_type=None)
    except ValueError:
        return ""
    return str(fields["message"]) if isinstance(fields, dict) and "message" in fields else ""
