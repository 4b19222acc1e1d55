"""Read the pools from where they are kept, and read them again every minute.

A document that cannot be read, or has a mistake, changes nothing: the old pools stay, and that is
said once.
"""

from __future__ import annotations

import asyncio
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from launcher.errors import Exit, LaunchError, describe
from launcher.pools.document import Problems, parse_pools
from sidecar.aws.calls import SSM, Call, backoff
from sidecar.aws.session import ServiceClient
from sidecar.errors import SidecarError
from sidecar.net.retry import call_with_retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.pools.pool import Pools

log = structlog.get_logger()

SETTING = "LAUNCHER_POOLS"
EVERY = 60.0
"""Seconds between two looks at the pools."""
TIMEOUT = 15.0
"""Seconds after which no more tries of one look are begun."""


class Source(Protocol):
    """A place in which pools are kept."""

    async def read(self) -> Pools | Problems:
        """Read them. Raises SidecarError where that is not possible."""


class FileSource:
    """A TOML file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    async def read(self) -> Pools | Problems:
        """Read the file."""
        try:
            return parse_pools(self._path.read_text(encoding="utf-8"))
        except OSError as error:
            return Problems((f"cannot read {self._path}: {error.strerror} ({SETTING})",))
        except UnicodeDecodeError:
            return Problems((f"cannot read {self._path}: it is not UTF-8 ({SETTING})",))


class ParameterSource(ServiceClient):
    """SSM parameters, whose texts make one document: one parameter holds 4 or 8 KB."""

    def __init__(self, names: list[str], region: str | None) -> None:
        super().__init__(SSM, region)
        self._names = names

    async def read(self) -> Pools | Problems:
        """Read all of the parameters."""
        return parse_pools("\n".join([await self._read(name) for name in self._names]))

    async def _read(self, name: str) -> str:
        call = Call(f"cannot read the parameter {name}", SSM, "ssm:GetParameter", SETTING)

        async def read() -> str:
            client = await self.connect()
            answer = await client.get_parameter(Name=name, WithDecryption=True)
            return str(answer["Parameter"]["Value"])

        return await call_with_retries(lambda: call.run(read), backoff(), seconds=TIMEOUT)


class LivePools:
    """The pools as they are now."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._pools: Pools | None = None
        self._read_at = -math.inf
        self._said: str | None = None

    def __call__(self) -> Pools:
        """Return the pools of now. `load` comes first."""
        assert self._pools is not None, "load them first"  # noqa: S101
        return self._pools

    async def load(self) -> None:
        """Read the pools for the first time. Raises SidecarError or LaunchError."""
        self._read_at = self._clock()
        found = await self._source.read()
        if isinstance(found, Problems):
            raise LaunchError(Exit.SETTINGS, "\n".join(found.lines))
        self._take(found)

    async def refresh(self) -> None:
        """Read the pools again if they are a minute old; they stay where that fails."""
        now = self._clock()
        if now - self._read_at < EVERY:
            return
        self._read_at = now
        try:
            found = await self._source.read()
        except SidecarError as error:
            self._keep(describe(error))
            return
        if isinstance(found, Problems):
            self._keep("; ".join(found.lines))
        else:
            self._take(found)

    async def reload(self) -> None:
        """Read the pools again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.refresh()

    def _take(self, found: Pools) -> None:
        self._said = None
        if found != self._pools:
            self._pools = found
            log.info("pools.read", pools=[pool.name for pool in found])

    def _keep(self, reason: str) -> None:
        """Say once why the old pools stay."""
        if reason != self._said:
            self._said = reason
            log.error("pools.kept", reason=reason)
