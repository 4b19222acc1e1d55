"""Handle batches of the queue's messages in a Lambda function.

Lambda deletes a message unless its id is among the answer's `batchItemFailures`. One loop, and all
connections, live as long as the container; secrets and pools are read again now and then.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog

from launcher.assembly import open_worker
from launcher.demand.message import Message, read_message
from launcher.demand.queue import Queue, pause_after, put_off, take
from launcher.errors import LaunchError, describe
from launcher.retries import log_retries
from launcher.settings import WorkSettings, load
from sidecar.errors import SidecarError
from sidecar.log import events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from launcher.assembly import Parts

log = structlog.get_logger()

SPARE = 5.0
"""Seconds before the function's deadline at which the work is cut: what is cut comes again."""
LONGEST = 900.0
"""Seconds of a batch, where the deadline is not known."""


class Batches:
    """One container's worker, opened by its first batch."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._settings, warnings = load({}, environ, WorkSettings)
        self._region = environ.get("AWS_REGION")
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._parts: Parts | None = None
        self._spare: Queue | None = None
        """For messages that no worker can be had for."""
        events.configure(self._settings.log_format, self._settings.log_level)
        log_retries()
        for warning in warnings:
            log.warning("settings.ignored", warning=warning)

    def work(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:
        """Handle one batch; return the messages that are to come again."""
        left = getattr(context, "get_remaining_time_in_millis", None)
        seconds = max(1.0, left() / 1000 - SPARE) if left else LONGEST
        failed = self._runner.run(self._work(event.get("Records", []), seconds))
        events.flush()
        return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}

    def close(self) -> None:
        """Close all connections; a container ends without it."""
        if self._spare is not None:
            self._stack.push_async_exit(self._spare)
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _work(self, records: list[dict[str, Any]], seconds: float) -> list[str]:
        treat = await self._prepare()
        handled: list[bool] = [False] * len(records)

        async def handle(number: int, record: dict[str, Any]) -> None:
            handled[number] = await treat(read_record(record))

        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                for number, record in enumerate(records):
                    group.create_task(handle(number, record))
        except TimeoutError:
            log.error("batch.cut", seconds=seconds, left=handled.count(False))  # noqa: TRY400
        pairs = zip(records, handled, strict=True)
        return [str(record.get("messageId", "")) for record, done in pairs if not done]

    async def _prepare(self) -> Callable[[Message], Awaitable[bool]]:
        """Return what treats each message; without a worker it is put off, and stays in the queue.

        A batch that fails as a whole would end among the dead letters after some tries.
        """
        try:
            parts = await self._open()
        except (SidecarError, LaunchError) as error:
            log.error("batch.failed", reason=describe(error))  # noqa: TRY400
            queue = self._spare = self._spare or Queue(self._settings.queue_url, self._region)
            return lambda message: put_off(queue, message, pause_after(message.count + 3))
        await parts.pools.refresh()
        return lambda message: take(parts.queue, message, parts.worker)

    async def _open(self) -> Parts:
        if self._parts is None:
            opened = open_worker(self._settings, self._region)
            self._parts = await self._stack.enter_async_context(opened)
        return self._parts


def read_record(record: Mapping[str, Any]) -> Message:
    """Read a message out of Lambda's event."""
    own = record.get("messageAttributes") or {}
    numbers = {name: value.get("stringValue") for name, value in own.items()}
    return read_message(str(record.get("body", "")), numbers, record.get("attributes") or {})
