"""Wait for the role of a job that is not known yet, then fetch the credentials of that role."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar.aws.container_credentials import CredentialsSource, Fetch


class AssignedRole:
    """A source of credentials that is assigned once. Before that it asks nothing and nobody."""

    def __init__(self) -> None:
        self._source: CredentialsSource | None = None
        self._assigned = asyncio.Event()

    def assign(self, source: CredentialsSource) -> None:
        """Set the source of the job's credentials. The first one counts."""
        if self._source is None:
            self._source = source
            self._assigned.set()

    @property
    def where(self) -> str:
        """Name this source in a log."""
        return self._source.where if self._source is not None else "the role of the job"

    @property
    def advice(self) -> str:
        """Say what to change when it does not work."""
        return "check SIDECAR_ROLES" if self._source is None else self._source.advice

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Fetch]:
        """Wait for the source; yield its function that fetches credentials."""
        await self._assigned.wait()
        assert self._source is not None  # noqa: S101  the event says so
        async with self._source.connected() as fetch:
            yield fetch
