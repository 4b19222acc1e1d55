"""From the environment to an exit code: settings, log, loop, life, and the one except ladder."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import stamina.instrumentation
import structlog

from sidecar import __version__, host, lifecycle, logs, settings
from sidecar.errors import Exit, SettingsError, SidecarError, Stopped
from sidecar.stop import Stop
from sidecar.tokens.ssm import Missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stamina.instrumentation import RetryDetails

    from sidecar.signals import Signals

log = structlog.get_logger()


def run(options: Sequence[str], environ: Mapping[str, str], signals: Signals) -> int:
    """Live one life with these options, environment and signals; return its exit code.

    A life that began does not return: the process leaves as soon as all is said. Closing the
    loop would wait for its threads, and one that asks a dead name server takes longer than any
    stop budget has left.
    """
    try:
        config = settings.load(options, environ)
    except SettingsError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return error.exit
    logs.configure(config.settings.log_format, config.settings.log_level)
    stamina.instrumentation.set_on_retry_hooks([_tell_retry])
    for warning in config.warnings:
        log.warning("settings.unknown", warning=warning)
    host.harden()
    code = asyncio.Runner(loop_factory=host.loop_factory()).run(_judged(config, signals))
    log.info("life.ended", exit_code=int(code), outcome=code.name.lower(), meaning=code.meaning)
    logs.flush()
    os._exit(code)


async def _judged(config: settings.Configuration, signals: Signals) -> Exit:
    """Live, and turn whatever ended the life into its exit code."""
    stop = Stop(config.settings.stop_timeout)
    with stop.hearing(signals):
        log.info("life.started", version=__version__)
        try:
            return await lifecycle.live(config, stop)
        except Stopped as stopped:
            log.info("life.stopped", reason=str(stopped))
            return stopped.exit
        except SidecarError as error:
            log.error("life.failed", reason=str(error))  # noqa: TRY400  its text says all
            return error.exit
        except Exception:
            log.exception("life.crashed")
            return Exit.BUG


def _tell_retry(details: RetryDetails) -> None:
    if isinstance(details.caused_by, Missing):
        return  # how many lives begin, for minutes: token.awaited has said it once
    log.warning(
        "retry.scheduled",
        attempt=details.retry_num,
        seconds=round(details.wait_for, 2),
        reason=str(details.caused_by),
    )
