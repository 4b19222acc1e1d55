"""Follow what the job uses of its task, and write it down when the job ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from sidecar import host
from sidecar.aws.task_stats import StatsError, read_sample, read_size
from sidecar.relay import running_beside
from sidecar.status.usage import JobUsage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

log = structlog.get_logger()

EVERY = 5.0
"""Seconds between two samples: a peak is the mean of so long a time."""
DONE = host.ADMITTED
"""The answer to the completed hook: the summary is written."""


class UsageWatch:
    """Takes samples while the job runs."""

    def __init__(self, metadata_uri: str, *, so_mark: bool) -> None:
        self.usage = JobUsage()
        self._uri = metadata_uri
        self._so_mark = so_mark
        self._ended = asyncio.Event()
        self._told = False

    def on_hook_event(self, event: str) -> None:
        """Note that the job has ended, as its last hook says: the last sample is due."""
        if event == "completed":
            self._ended.set()

    async def follow(self, job: asyncio.Event) -> None:
        """Wait for the job, then take samples until it has ended."""
        await job.wait()
        while not self._ended.is_set():
            await self.take()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), EVERY)
        await self.take()

    async def take(self) -> None:
        """Take one sample. One that fails is left out; the log says so once."""
        try:
            if self.usage.size is None or self._ended.is_set():
                self.usage.size = await read_size(self._uri, so_mark=self._so_mark)
            sample = await read_sample(self._uri, so_mark=self._so_mark)
        except StatsError as error:
            if not self._told:
                self._told = True
                log.info("job.usage_unknown", reason=str(error))
            return
        self.usage.add(sample, asyncio.get_running_loop().time())


@asynccontextmanager
async def follow_usage(
    metadata_uri: str | None, job: asyncio.Event, *, so_mark: bool
) -> AsyncIterator[UsageWatch | None]:
    """Follow the usage within the block; None where nothing tells it."""
    if metadata_uri is None:
        yield None
        return
    watch = UsageWatch(metadata_uri, so_mark=so_mark)
    async with AsyncExitStack() as running:
        await running.enter_async_context(running_beside(watch.follow(job)))
        yield watch


class Summary:
    """Writes the job's summary, when its completed hook asks for it."""

    def __init__(
        self, watch: UsageWatch, path: Path, served: Callable[[], Mapping[str, int]]
    ) -> None:
        self.path = path
        self._watch = watch
        self._served = served

    async def write(self, _variables: Mapping[str, str] | None) -> str:
        """Take the last sample and write the file; return the answer for the hook."""
        await self._watch.take()
        text = self._watch.usage.write_summary(self._served())
        try:
            host.write_new(self.path, text.encode(), 0o644, None)
        except OSError as error:
            log.warning("job.summary_failed", reason=error.strerror or type(error).__name__)
            return "it cannot be written"
        return DONE
