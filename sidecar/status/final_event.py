"""What a life leaves: its final event, which tells how it ended without any other line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sidecar import phase
from sidecar.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.status.report import Report


def record(code: int, report: Report) -> dict[str, Any]:
    """Return the facts of `life.ended`; times in seconds. A plain number is a command's own."""
    ours = code if isinstance(code, Exit) else None
    facts: dict[str, Any] = {
        "outcome": ours.name.lower().replace("_", "-") if ours is not None else "command-ended",
        "exit_code": int(code),
        "meaning": ours.meaning if ours is not None else "the exit code of the command itself",
        "error": report.error,
        "life_seconds": round(report.phase.life, 3),
        "phase_seconds": {name: round(spent, 3) for name, spent in report.phase.spent().items()},
        "undone": {
            cleanup_step.name: cleanup_step.how
            for cleanup_step in report.cleanup_stack.steps
            if cleanup_step.done
        },
        "left_behind": report.cleanup_stack.not_done,
    }
    if report.error is None:
        del facts["error"]
    return facts


METRICS = {
    "lives": "Count",
    "jobs": "Count",
    "failures": "Count",
    "left_behind_count": "Count",
    "life_seconds": "Seconds",
    "start_seconds": "Seconds",
    "job_seconds": "Seconds",
}
"""The metrics that CloudWatch makes of the final event, and their units."""
BEGINNING = (phase.STARTING, phase.WAITING, phase.CONFIGURING, phase.WARMING)
FINE = {Exit.DONE, Exit.STOPPED, Exit.IDLE, Exit.LIFETIME}
"""Ends that are no failure of anything."""


def embedded(
    facts: dict[str, Any],
    report: Report,
    namespace: str,
    now: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Return what makes CloudWatch read the final event as metrics, in this namespace.

    The document is AWS's "Specification: Embedded metric format". Values stand beside the facts,
    since it finds nothing that is nested. Dimensions are the outcome, and none: every value of a
    dimension is a metric that is paid for, and there are few outcomes.
    """
    spent = report.phase.spent()
    had_job = report.listener is not None and report.listener.had_job
    values = {
        "lives": 1,
        "jobs": int(had_job),
        "failures": int(facts["exit_code"] not in FINE),
        "left_behind_count": len(facts["left_behind"]),
        "start_seconds": round(sum(spent.get(name, 0.0) for name in BEGINNING), 3),
        "job_seconds": round(spent.get(phase.BUSY, 0.0), 3),
    }
    directive = {
        "Namespace": namespace,
        "Dimensions": [[], ["outcome"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in METRICS.items()],
    }
    return values | {"_aws": {"Timestamp": int(now() * 1000), "CloudWatchMetrics": [directive]}}
