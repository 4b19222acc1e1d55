"""The docker daemon's HTTP API, asked with a deadline; nothing is ever changed through it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

DEFAULT_SOCKET = "/var/run/docker.sock"
DEADLINE = 2.0
"""Seconds for one call: the daemon is on the same machine."""


class Unanswered(Exception):
    """The daemon did not answer, or not with what was asked for; the text says why."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One docker daemon, by its address."""

    host: str
    """As in DOCKER_HOST: `unix:///path` or `tcp://host:port`."""
    _session: aiohttp.ClientSession | None = field(default=None, compare=False, repr=False)

    @classmethod
    def named(cls, docker_host: str | None, default: str | None = None) -> Engine | None:
        """Return the daemon that a docker client would talk to; None if nothing names one."""
        if docker_host:
            return cls(docker_host)
        usual = default or DEFAULT_SOCKET
        return cls(f"unix://{usual}") if Path(usual).exists() else None

    @property
    def socket(self) -> Path | None:
        """Its socket's path; None for one that is reached by the network."""
        parts = urlsplit(self.host)
        return Path(parts.path) if parts.scheme == "unix" else None

    @property
    def machine(self) -> str | None:
        """The name or address of the machine that it is reached at; None for a socket."""
        return None if self.socket is not None else urlsplit(self.host).hostname

    async def get(self, path: str) -> Any:
        """Return what `GET path` answers, decoded from JSON. Raises Unanswered.

        The path names no version of the API: the daemon then speaks its newest.
        """
        async with self._asked(path, {}, aiohttp.ClientTimeout(total=DEADLINE)) as answer:
            return await answer.json(content_type=None)

    async def events(
        self, filters: Mapping[str, list[str]], *, since: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what happens, as `GET /events` tells it, for as long as the daemon lives.

        `since`, in seconds since the epoch, tells again of what happened after it. There is no
        deadline for the next one. Raises Unanswered when there will be none.
        """
        query = {"filters": json.dumps(filters)}
        if since is not None:
            query["since"] = str(since)
        forever = aiohttp.ClientTimeout(total=None, sock_connect=DEADLINE)
        async with self._asked("/events", query, forever) as answer:
            while line := await answer.content.readline():
                told = json.loads(line)
                if isinstance(told, dict):
                    yield told
        raise Unanswered(f"{self.host} ended its events")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Engine]:
        """Give the same daemon, to which a connection stays open within the block.

        Who asks often is answered sooner: a session takes a millisecond to make.
        """
        async with self._fresh() as session:
            yield replace(self, _session=session)

    def _fresh(self) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(str(self.socket))
        return aiohttp.ClientSession(connector=connector, trust_env=False)

    @asynccontextmanager
    async def _asked(
        self, path: str, query: Mapping[str, str], timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self.socket is None:
            raise Unanswered(f"{self.host} is no socket")
        try:
            async with (
                nullcontext(self._session) if self._session else self._fresh() as session,
                session.get(f"http://docker{path}", params=query, timeout=timeout) as answer,
            ):
                if answer.status != 200:
                    raise Unanswered(f"{self.host} answered {answer.status} to {path}")
                yield answer
        except TimeoutError as error:
            raise Unanswered(f"{self.host} did not answer within {DEADLINE:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise Unanswered(f"{self.host} cannot be asked: {why.lower()}") from error

    async def networks(self) -> list[dict[str, Any]]:
        """Return its networks, as `GET /networks` tells them. Raises Unanswered."""
        told = await self.get("/networks")
        if not isinstance(told, list):
            raise Unanswered(f"{self.host} told no networks")
        return [network for network in told if isinstance(network, dict)]


class Bridge(NamedTuple):
    """A bridge network, on the daemon's side."""

    interface: str
    subnet: str
    """As in `172.17.0.0/16`."""
    gateway: str | None
    """The interface's own address there, where the daemon tells it: 20.10 does not always."""


def bridges(networks: list[dict[str, Any]]) -> list[Bridge]:
    """Return the bridges of these networks, one for each subnet of theirs."""
    return [
        Bridge(_interface(network), str(config.get("Subnet")), config.get("Gateway") or None)
        for network in networks
        if network.get("Driver") == "bridge"
        for config in (network.get("IPAM") or {}).get("Config") or ()
    ]


def _interface(network: dict[str, Any]) -> str:
    named = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(named or f"br-{str(network.get('Id'))[:12]}")
