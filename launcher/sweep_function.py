"""Sweep in a Lambda function, which a schedule calls.

One loop, and all connections, live as long as the container: answers of GitHub's that have not
changed are not asked for again. What a look has found stands in the table.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog

from launcher.errors import LaunchError, describe
from launcher.retries import log_retries
from launcher.settings import SweepSettings, load
from launcher.sweep.findings import Outcome
from launcher.sweep.sweeper import LONGEST
from launcher.sweep.telling import log_report
from launcher.sweep_assembly import open_sweep
from sidecar.errors import SidecarError
from sidecar.log import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.sweep_assembly import SweepParts

log = structlog.get_logger()

SPARE = 15.0
"""Seconds before the function's deadline at which a sweep ends: the next one goes on."""


class SweepFunction:
    """One container's sweep, opened by its first call."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._settings, warnings = load({}, environ, SweepSettings)
        self._region = environ.get("AWS_REGION")
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._parts: SweepParts | None = None
        events.configure(self._settings.log_format, self._settings.log_level)
        log_retries()
        for warning in warnings:
            log.warning("settings.ignored", warning=warning)

    def sweep(self, context: object) -> dict[str, Any]:
        """Sweep once; return how many orphans were found for the first time, removed, and kept."""
        left = getattr(context, "get_remaining_time_in_millis", None)
        seconds = max(1.0, left() / 1000 - SPARE) if left else LONGEST
        counts = self._runner.run(self._sweep(seconds))
        events.flush()
        return counts

    def close(self) -> None:
        """Close all connections; a container ends without it."""
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _sweep(self, seconds: float) -> dict[str, Any]:
        begun = time.monotonic()
        try:
            parts = await self._open()
            if parts.pools is not None:
                await parts.pools.refresh()
            report = await parts.sweeper.sweep(seconds)
        except (SidecarError, LaunchError) as error:
            log.error("sweep.failed", reason=describe(error))  # noqa: TRY400
            return {}
        if report is None:
            log.warning("sweep.skipped", reason="another process sweeps just now")
            return {}
        log_report(report, time.monotonic() - begun, dry_run=self._settings.dry_run)
        return {outcome: report.count(outcome) for outcome in Outcome}

    async def _open(self) -> SweepParts:
        if self._parts is None:
            opened = open_sweep(self._settings, self._region)
            self._parts = await self._stack.enter_async_context(opened)
        return self._parts
