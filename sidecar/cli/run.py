"""`runner-sidecar run`: live one life, from the environment to an exit code.

Read the settings, start log and event loop, live, turn what ended the life into its exit code.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING

import stamina.instrumentation
import structlog

from sidecar import __version__, host, process
from sidecar.aws.calls import NotFound
from sidecar.errors import Exit, SettingsError, SidecarError, Stopped
from sidecar.lifecycle import runner_life
from sidecar.lifecycle.facts import log_machine
from sidecar.log import events
from sidecar.settings.first_steps import choose_lines
from sidecar.settings.load import find_question, load
from sidecar.shutdown.stop import Stop
from sidecar.status import final_event
from sidecar.status.report import Report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from stamina.instrumentation import RetryDetails

    from sidecar.settings.model import Configuration
    from sidecar.shutdown.signals import Signals

    Live = Callable[[Configuration, Stop, Report], Awaitable[int]]

log = structlog.get_logger()


def main(
    options: Sequence[str],
    environ: Mapping[str, str],
    signals: Signals,
    killer: host.Killer | None = None,
) -> int:
    """Live one life with these options, environment and signals; return its exit code.

    Returns only when the settings are wrong. Once a life has begun, the process exits here: closing
    the loop would wait for its threads, and one that asks a dead name server takes longer than
    what is left of the stop budget.
    """
    host.prepare_output()
    runner = asyncio.Runner(loop_factory=host.loop_factory())
    machine: Mapping[str, str] = {}
    try:
        machine, reason = _read_machine(options, environ, signals, runner)
        if signals.received and not machine and reason:
            sys.stderr.write(f"stopped by {signals.received[0]} before any setting was read\n")
            return Exit.STOPPED
        config = load(options, environ, machine, reason)
    except SettingsError as error:
        for line in choose_lines(error.problems, options, environ, machine):
            sys.stderr.write(f"{line}\n")
        return error.exit
    settings = config.settings
    # Standard output belongs to the command, if there is one.
    events.configure(
        settings.log_format, settings.log_level, "stderr" if config.command else "stdout"
    )
    report = Report()
    stamina.instrumentation.set_on_retry_hooks([partial(_report_retry, report)])
    _log_configuration(config)
    host.harden()
    host.raise_file_limit()
    process.user_kill.killer = killer
    killed_before = host.count_memory_kills()
    code = runner.run(_live(config, signals, report))
    if killer is not None:
        killer.end()  # whoever sees this process's end must see no child of it
    if kills := host.count_memory_kills() - killed_before:
        log.warning(
            "memory.exhausted", kills=kills, advice="give the task, or its jobs, more memory"
        )
    facts = final_event.collect_facts(code, report)
    if settings.metrics_namespace is not None:
        facts |= final_event.embed_metrics(facts, report, settings.metrics_namespace)
    log.info("life.ended", **facts)
    events.flush()
    return host.exit_process(code)


def _read_machine(
    options: Sequence[str],
    environ: Mapping[str, str],
    signals: Signals,
    runner: asyncio.Runner,
) -> tuple[Mapping[str, str], str]:
    """Read what machine this is, where the platform may be one; return that, or why it is unknown.

    Its tags are settings, so this comes before the settings. Raises SettingsError.
    """
    question = find_question(options, environ)
    if question is None:
        return {}, ""
    from sidecar.aws.instance_metadata import MetadataError, read_machine

    stamina.instrumentation.set_on_retry_hooks([])  # there is no log yet
    try:
        reading = read_machine(
            question.url,
            expected=question.expected,
            so_mark=host.may_filter(),
            is_stopped=lambda: bool(signals.received),
        )
        return runner.run(reading), ""
    except MetadataError as error:
        return {}, str(error)


def _log_configuration(config: Configuration) -> None:
    """Log the launcher whose variables were read, and what was ignored."""
    if config.launcher.contract is not None:
        log.info(
            "launcher.recognised",
            contract=config.launcher.contract,
            by=config.launcher.mark,
            unheeded=config.launcher.ignored,
            supervised=bool(config.command),
        )
    for warning in config.warnings:
        log.warning("settings.ignored", warning=warning)


async def _live(config: Configuration, signals: Signals, report: Report) -> int:
    """Live, and return the exit code of whatever ended the life; errors are logged here."""
    stop = Stop(config.settings.stop_timeout, host.free_reserve)
    with stop.receiving(signals):
        log.info("life.started", version=__version__)
        log_machine(config)
        try:
            code = await _choose_life(config)(config, stop, report)
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


def _choose_life(config: Configuration) -> Live:
    """Return the life of a command, if there is one, else the life of a runner."""
    if config.command:
        from sidecar.lifecycle import command_life  # late: no runner needs it

        return command_life.live
    return runner_life.live


def _report_retry(report: Report, details: RetryDetails) -> None:
    """Count a retry and log it; stamina calls this for every retry of the agent."""
    report.retries[type(details.caused_by).__name__] += 1
    report.cleanup_stack.note_retry(str(details.caused_by))
    if isinstance(details.caused_by, NotFound):
        return  # tokens come late in many lives, for minutes: token.awaited says so once
    log.warning(
        "retry.scheduled",
        attempt=details.retry_num,
        seconds=round(details.wait_for, 2),
        reason=str(details.caused_by),
    )
