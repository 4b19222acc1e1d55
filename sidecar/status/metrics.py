"""The life in numbers, as Prometheus reads them.

The library is imported when somebody asks for the first time: most lives are never asked, and
both start-up time and memory are budgeted. Until then everything is counted where it happens, in
plain attributes; here it is only told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar import __version__, phase
from sidecar.relay.counts import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from sidecar.relay import Relay
    from sidecar.status.report import Report

PREFIX = "runner_sidecar_"


def exposition(report: Report, accept: str) -> tuple[bytes, str]:
    """Write all metrics in the format that the Accept header prefers; return it with its type."""
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    collected = CollectorRegistry(auto_describe=False)
    collected.register(_Life(report))
    ProcessCollector(registry=collected)
    encode, content_type = choose_encoder(accept)
    return encode(collected), content_type


class _Life:
    """Collects from the report, at the moment of asking."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Return every metric of the life."""
        yield from _life(self._report)
        yield from _undo(self._report)
        if self._report.relay is not None:
            yield from _relay(self._report.relay)

    def describe(self) -> list[Metric]:
        """Say nothing beforehand: the registry need not ask twice."""
        return []


def _life(report: Report) -> Iterator[Metric]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
    )

    listener, now = report.listener, report.phase
    yield InfoMetricFamily(PREFIX + "build", "The agent itself.", {"version": __version__})
    yield GaugeMetricFamily(PREFIX + "life_seconds", "Age of this life.", now.life)
    current = GaugeMetricFamily(PREFIX + "phase", "1 for the phase it is in.", labels=["phase"])
    spent = CounterMetricFamily(
        PREFIX + "phase_seconds", "Time that each phase has taken so far.", labels=["phase"]
    )
    seconds = now.spent()
    for name in phase.ALL:
        current.add_metric([name], name == now.name)
        spent.add_metric([name], seconds.get(name, 0.0))
    yield from (current, spent)
    yield GaugeMetricFamily(PREFIX + "ready", "Whether it can take a job or has one.", report.ready)
    busy = listener is not None and listener.running and listener.had_job
    yield GaugeMetricFamily(PREFIX + "job", "Whether a job runs.", busy)
    retries = CounterMetricFamily(
        PREFIX + "retries", "What was tried again, by the kind of error.", labels=["error"]
    )
    for kind, count in report.retries.items():
        retries.add_metric([kind], count)
    yield retries


def _undo(report: Report) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    undo = GaugeMetricFamily(
        PREFIX + "undo", "1 for how far each clean-up step is.", labels=["undo", "state"]
    )
    for cleanup_step in report.cleanup_stack.steps:
        for state in ("pending", "done", "failed"):
            undo.add_metric([cleanup_step.name, state], state == cleanup_step.state)
    yield undo


def _relay(relay: Relay) -> Iterator[Metric]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    counts, left = relay.counts, relay.state.seconds_left
    refreshes = CounterMetricFamily(
        PREFIX + "relay_refreshes", "Refreshes of the credentials.", labels=["result"]
    )
    for result, count in counts.flights.items():
        refreshes.add_metric([result], count)
    answers = CounterMetricFamily(
        PREFIX + "relay_answers", "Answers to jobs and containers.", labels=["face", "status"]
    )
    for (face, status), count in sorted(counts.answers.items()):
        answers.add_metric([face, str(status)], count)
    yield from (refreshes, answers)
    if left is not None:
        yield GaugeMetricFamily(
            PREFIX + "relay_expiry_seconds",
            "Time until the credentials that are held expire; below 0 they have.",
            left,
        )
    total, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts.latencies, strict=True):
        total += count
        buckets.append((bound, float(total)))
    yield HistogramMetricFamily(
        PREFIX + "relay_upstream_seconds",
        "Time that upstream took to answer, or not to.",
        buckets=buckets,
        sum_value=counts.latency,
    )
