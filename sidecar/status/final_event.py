"""The final event of a life: how it ended, without the need for any other line."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sidecar import phase
from sidecar.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.status.report import Report


def collect_facts(code: int, report: Report) -> dict[str, Any]:
    """Return the facts of `life.ended`; times in seconds.

    `code` is an Exit, or a plain number: the exit code of a command.
    """
    ours = code if isinstance(code, Exit) else None
    facts: dict[str, Any] = {
        "outcome": ours.name.lower().replace("_", "-") if ours is not None else "command-ended",
        "exit_code": int(code),
        "meaning": ours.meaning if ours is not None else "the exit code of the command itself",
        "error": report.error,
        "life_seconds": round(report.phase.life, 3),
        "phase_seconds": {
            name: round(spent, 3) for name, spent in report.phase.seconds_by_phase().items()
        },
        "undone": {
            cleanup_step.name: cleanup_step.result
            for cleanup_step in report.cleanup_stack.steps
            if cleanup_step.done
        },
        "left_behind": report.cleanup_stack.not_done,
    }
    if report.error is None:
        del facts["error"]
    if report.usage is not None:
        facts |= report.usage.collect_facts(report.count_credentials())
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
START_PHASES = (
    *(phase.STARTING, phase.WAITING, phase.CONFIGURING, phase.WARMING),
    phase.LAUNCHING,
)


def embed_metrics(
    facts: dict[str, Any],
    report: Report,
    namespace: str,
    now: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """Return what CloudWatch needs to read the final event as metrics, in this namespace.

    Source: AWS, "Specification: Embedded metric format". The values are not nested: CloudWatch
    would not find them. The only dimension is the outcome: each value of a dimension is a metric
    that costs money, and there are few outcomes.
    """
    spent = report.phase.seconds_by_phase()
    job_began = report.listener is not None and report.listener.job_began
    values = {
        "lives": 1,
        "jobs": int(job_began),
        "failures": int(is_failure(facts["exit_code"])),
        "left_behind_count": len(facts["left_behind"]),
        "start_seconds": round(sum(spent.get(name, 0.0) for name in START_PHASES), 3),
        "job_seconds": round(spent.get(phase.BUSY, 0.0), 3),
    }
    directive = {
        "Namespace": namespace,
        "Dimensions": [[], ["outcome"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in METRICS.items()],
    }
    return values | {"_aws": {"Timestamp": int(now() * 1000), "CloudWatchMetrics": [directive]}}


def is_failure(code: int) -> bool:
    """Return whether a life that ended with `code` failed; a command fails unless it ends with 0.

    The command's code counts as the agent's where the numbers are the same.
    """
    known = next((one for one in Exit if one == code), None)
    return known.failure if known is not None else code != 0
