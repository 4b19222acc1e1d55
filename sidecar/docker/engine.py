"""Ask the docker engine's HTTP API, and remove what a job has created there."""

from __future__ import annotations

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


class EngineError(Exception):
    """The engine did not answer, or not in the expected form; the text says why."""


class NotFound(EngineError):
    """The engine knows no such object."""


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
            return await response.json(content_type=None)

    async def read(self, path: str) -> bytes:
        """Return the bytes of `GET path`, which need not be JSON. Raises EngineError."""
        async with self._request(path, {}, aiohttp.ClientTimeout(total=DEADLINE)) as response:
            return await response.read()

    async def post(self, path: str, document: object = None, *, seconds: float = DEADLINE) -> Any:
        """Return the decoded JSON of `POST path`; None if there is none. Raises EngineError."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._request(path, {}, timeout, method="POST", document=document) as response:
            return await response.json(content_type=None) if response.status != 204 else None

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
        for the next event has no deadline. Always ends with EngineError.
        """
        query = {"filters": json.dumps(filters)}
        if since is not None:
            query["since"] = str(since)
        no_deadline = aiohttp.ClientTimeout(total=None, sock_connect=DEADLINE)
        async with self._request("/events", query, no_deadline) as response:
            while line := await response.content.readline():
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
        document: object = None,
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
                    json=document,
                ) as response,
            ):
                if not 200 <= response.status < 300:
                    error_type = NotFound if response.status == 404 else EngineError
                    words = "" if method == "GET" else await _read_message(response)
                    raise error_type(f"{self.host} answered {response.status} to {path}{words}")
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


async def _read_message(response: aiohttp.ClientResponse) -> str:
    """Return what the engine says about an error, to be added to a text."""
    try:
        fields = await response.json(content_type=None)
    except ValueError:
        return ""
    return f": {fields['message']}" if isinstance(fields, dict) and "message" in fields else ""
