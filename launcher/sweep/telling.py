"""Tell what a sweep has done: as events, or as a table for whoever watches a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from launcher.sweep.findings import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from launcher.sweep.findings import Report, Result

log = structlog.get_logger()

ORPHANS = (Kind.TOKEN, Kind.RUNNER, Kind.TASK, Kind.MACHINE)
HEAD = ("what", "name", "why", "result")


def log_report(report: Report, seconds: float, *, dry_run: bool) -> None:
    """Log a report: an event for each result, then the sums, which metrics are made of."""
    for result in report.results:
        _log_result(result)
    if report.uncovered:
        log.warning("sweep.incomplete", left_out=report.uncovered)
    log.info(
        "sweep.done",
        seconds=round(seconds, 1),
        dry_run=dry_run,
        found=report.count(Outcome.FOUND),
        removed=report.count(Outcome.REMOVED),
        kept=report.count(Outcome.KEPT),
        **{f"{kind}s": report.count(Outcome.REMOVED, kind) for kind in ORPHANS},
        deliveries=report.count(Outcome.SENT, Kind.DELIVERY),
        jobs=report.count(Outcome.SENT, Kind.JOB),
        left_out=len(report.uncovered),
    )


def _log_result(result: Result) -> None:
    finding = result.finding
    facts = {"kind": finding.kind, "name": finding.name}
    match result.outcome:
        case Outcome.FOUND:
            log.info("orphan.found", **facts, reason=finding.reason)
        case Outcome.WOULD_REMOVE:
            log.info("orphan.skipped", **facts, reason=finding.reason)
        case Outcome.REMOVED:
            log.info("orphan.removed", **facts, reason=finding.reason)
        case Outcome.SENT:
            log.warning(  # something else has failed before
                "delivery.sent_again" if finding.kind is Kind.DELIVERY else "job.sent_again",
                name=finding.name,
                reason=finding.reason,
            )
        case Outcome.WOULD_SEND:
            log.info("orphan.skipped", **facts, reason=finding.reason)
        case Outcome.KEPT if result.failed:
            log.error("orphan.kept", **facts, reason=result.detail)
        case Outcome.KEPT:
            log.info("orphan.kept", **facts, reason=result.detail)


def write_table(report: Report) -> str:
    """Write a report as a table, and what it leaves out below."""
    rows = [
        (result.finding.kind, result.finding.name, result.finding.reason, _describe(result))
        for result in report.results
    ]
    lines = _align([HEAD, *rows]) if rows else ["nothing is left over"]
    return "\n".join([*lines, *(f"not looked at: {line}" for line in report.uncovered)]) + "\n"


def _describe(result: Result) -> str:
    return f"{result.outcome}: {result.detail}" if result.detail else str(result.outcome)


def _align(rows: Sequence[Iterable[str]]) -> Iterator[str]:
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()
