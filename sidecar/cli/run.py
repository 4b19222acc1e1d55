"""From the environment to an exit code: settings, log, loop, life, and the one except ladder."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import stamina.instrumentation
import structlog

from sidecar import __version__, host
from sidecar.errors import Exit, SettingsError, SidecarError, Stopped
from sidecar.lifecycle import runner_life
from sidecar.log import events
from sidecar.settings.load import load
from sidecar.shutdown.stop import Stop
from sidecar.status import final_event
from sidecar.status.report import Report
from sidecar.tokens.ssm import Missing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from stamina.instrumentation import RetryDetails

    from sidecar.settings.model import Configuration
    from sidecar.shutdown.signals import Signals

    Live = Callable[[Configuration, Stop, Report], Awaitable[int]]

log = structlog.get_logger()


def run(options: Sequence[str], environ: Mapping[str, str], signals: Signals) -> int:
    """Live one life with these options, environment and signals; return its exit code.

    A life that began does not return: the process leaves as soon as all is said. Closing the
    loop would wait for its threads, and one that asks a dead name server takes longer than any
    stop budget has left.
    """
    try:
        config = load(options, environ)
    except SettingsError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return error.exit
    said = config.settings
    # A command's output is its own; what the agent says goes beside it.
    events.configure(said.log_format, said.log_level, "stderr" if config.command else "stdout")
    report = Report()
    stamina.instrumentation.set_on_retry_hooks([partial(_tell_retry, report)])
    if config.launcher.contract is not None:
        log.info(
            "launcher.recognised",
            contract=config.launcher.contract,
            by=config.launcher.mark,
            unheeded=config.launcher.unheeded,
            supervised=bool(config.command),
        )
    for warning in config.warnings:
        log.warning("settings.ignored", warning=warning)
    host.harden()
    killed_before = host.memory_kills()
    code = asyncio.Runner(loop_factory=host.loop_factory()).run(_judged(config, signals, report))
    if kills := host.memory_kills() - killed_before:
        log.warning(
            "memory.exhausted", kills=kills, advice="give the task, or its jobs, more memory"
        )
    facts = final_event.record(code, report)
    namespace = config.settings.metrics_namespace
    if namespace is not None:
        facts |= final_event.embedded(facts, report, namespace)
    log.info("life.ended", **facts)
    events.flush()
    os._exit(code)


async def _judged(config: Configuration, signals: Signals, report: Report) -> int:
    """Live, and turn whatever ended the life into its exit code; the error is told here."""
    stop = Stop(config.settings.stop_timeout)
    with stop.hearing(signals):
        log.info("life.started", version=__version__)
        try:
            code = await _live(config)(config, stop, report)
        except Stopped as stopped:
            log.info("life.stopped", reason=str(stopped))
            return stopped.exit
        except SidecarError as error:
            code, report.error = error.exit, str(error)
        except Exception as error:
            log.exception("life.crashed")
            report.error = f"{type(error).__name__}: {error}"
            return Exit.BUG
        if report.error is not None:
            log.error("life.failed", reason=report.error)
        return code


def _live(config: Configuration) -> Live:
    """Choose the life: a command's, or a runner's."""
    if config.command:
        from sidecar.lifecycle import command_life  # late: no runner needs it

        return command_life.live
    return runner_life.live


def _tell_retry(report: Report, details: RetryDetails) -> None:
    report.retries[type(details.caused_by).__name__] += 1
    report.cleanup_stack.note_retry(str(details.caused_by))
    if isinstance(details.caused_by, Missing):
        return  # how many lives begin, for minutes: token.awaited has said it once
    log.warning(
        "retry.scheduled",
        attempt=details.retry_num,
        seconds=round(details.wait_for, 2),
        reason=str(details.caused_by),
    )
