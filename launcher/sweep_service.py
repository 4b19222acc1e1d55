"""Run the command `sweep`: once, which is two looks with a pause, or again and again."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import structlog

from launcher.errors import Exit, LaunchError, describe
from launcher.exits import explain
from launcher.interruption import InterruptedWork
from launcher.settings import SweepSettings
from launcher.sweep.findings import Outcome
from launcher.sweep.telling import log_report, write_table
from launcher.sweep_assembly import open_sweep
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from launcher.interruption import Interruption
    from launcher.settings import LogSettings
    from launcher.sweep.findings import Report
    from launcher.sweep_assembly import SweepParts

log = structlog.get_logger()


def run(settings: LogSettings, region: str | None, interruption: Interruption) -> Exit:
    """Sweep as the settings say; return the exit code."""
    assert isinstance(settings, SweepSettings)  # noqa: S101
    try:
        return asyncio.run(_run(settings, region, interruption))
    except InterruptedWork as stop:
        log.info("service.stop_requested", reason=str(stop))
        return Exit.DONE if settings.every is not None else Exit.INTERRUPTED
    except (LaunchError, SidecarError) as error:
        code, reason = explain(error)
    log.error("sweep.failed", reason=reason)
    return code


async def _run(settings: SweepSettings, region: str | None, interruption: Interruption) -> Exit:
    async with interruption.cuts(), open_sweep(settings, region) as parts:
        if settings.every is None:
            return await _sweep_once(settings, parts)
        while True:
            begun = time.monotonic()
            try:
                await _sweep(settings, parts)
            except SidecarError as error:
                log.error("sweep.failed", reason=describe(error))  # noqa: TRY400
            await asyncio.sleep(max(0.0, settings.every - (time.monotonic() - begun)))


async def _sweep_once(settings: SweepSettings, parts: SweepParts) -> Exit:
    """Look, wait, and look again, where the first look has found anything."""
    report = await _sweep(settings, parts)
    if report is not None and report.count(Outcome.FOUND):
        await asyncio.sleep(settings.pause)
        report = await _sweep(settings, parts)
    if report is None:
        return Exit.DONE
    if any(result.failed for result in report.results):
        return Exit.LEFT_BEHIND
    return explain(report.errors[0])[0] if report.errors else Exit.DONE


async def _sweep(settings: SweepSettings, parts: SweepParts) -> Report | None:
    """Sweep once, and tell what was done. None: another process sweeps just now."""
    begun = time.monotonic()
    if parts.pools is not None:
        await parts.pools.refresh()
    report = await parts.sweeper.sweep()
    if report is None:
        log.warning("sweep.skipped", reason="another process sweeps just now")
        return None
    if settings.log_format != "json" and sys.stdout.isatty():
        sys.stdout.write(write_table(report))
        sys.stdout.flush()
    else:
        log_report(report, time.monotonic() - begun, dry_run=settings.dry_run)
    return report
