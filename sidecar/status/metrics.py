"""Write the metrics of a life, in the formats that Prometheus reads.

The parts of a life count in plain attributes; this reads them when metrics are requested. The
Prometheus library is imported with the first request: most lives never get one, and both start-up
time and memory are limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar import __version__, phase
from sidecar.relay.counts import BOUNDS
from sidecar.shutdown.cleanup import STATES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from sidecar.relay import Relay
    from sidecar.status.report import Report

PREFIX = "runner_sidecar_"


def write_metrics(report: Report, accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that the Accept header prefers, and its content type."""
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import choose_encoder

    metrics = CollectorRegistry(auto_describe=False)
    metrics.register(_LifeCollector(report))
    ProcessCollector(registry=metrics)
    encode, content_type = choose_encoder(accept)
    return encode(metrics), content_type


class _LifeCollector:
    """Collects the metrics from the report whenever they are requested."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Return every metric of the life."""
        yield from _life_metrics(self._report)
        yield from _cleanup_metrics(self._report)
        if self._report.relay is not None:
            yield from _relay_metrics(self._report.relay)

    def describe(self) -> list[Metric]:
        """Describe nothing: the registry would collect everything for it."""
        return []


def _life_metrics(report: Report) -> Iterator[Metric]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
    )

    listener, now = report.listener, report.phase
    yield InfoMetricFamily(PREFIX + "build", "The version of the agent.", {"version": __version__})
    yield GaugeMetricFamily(PREFIX + "life_seconds", "Age of this life.", now.life)
    current = GaugeMetricFamily(PREFIX + "phase", "1 for the current phase.", labels=["phase"])
    spent = CounterMetricFamily(
        PREFIX + "phase_seconds", "Time that each phase has taken so far.", labels=["phase"]
    )
    seconds = now.seconds_by_phase()
    for name in phase.ALL:
        current.add_metric([name], name == now.name)
        spent.add_metric([name], seconds.get(name, 0.0))
    yield from (current, spent)
    yield GaugeMetricFamily(
        PREFIX + "ready", "Whether the runner waits for a job or has one.", report.ready
    )
    busy = listener is not None and listener.running and listener.had_job
    yield GaugeMetricFamily(PREFIX + "job", "Whether a job runs.", busy)
    retries = CounterMetricFamily(
        PREFIX + "retries", "Retries, by the kind of error.", labels=["error"]
    )
    for kind, count in report.retries.items():
        retries.add_metric([kind], count)
    yield retries


def _cleanup_metrics(report: Report) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    states = GaugeMetricFamily(
        PREFIX + "undo", "1 for the state of each cleanup step.", labels=["undo", "state"]
    )
    for cleanup_step in report.cleanup_stack.steps:
        for state in STATES:
            states.add_metric([cleanup_step.name, state], state == cleanup_step.state)
    yield states


def _relay_metrics(relay: Relay) -> Iterator[Metric]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    counts, left = relay.counts, relay.state.seconds_left
    refreshes = CounterMetricFamily(
        PREFIX + "relay_refreshes", "Refreshes of the credentials.", labels=["result"]
    )
    for result, count in counts.refreshes.items():
        refreshes.add_metric([result], count)
    answers = CounterMetricFamily(
        PREFIX + "relay_answers", "Answers to jobs and containers.", labels=["face", "status"]
    )
    for (face, status), count in sorted(counts.answers.items()):
        answers.add_metric([face, str(status)], count)
    yield from (refreshes, answers)
    if counts.rules.keys() - {""}:
        served = CounterMetricFamily(
            PREFIX + "relay_credentials", "Answers with credentials, by rule.", labels=["rule"]
        )
        for rule, count in sorted(counts.rules.items()):
            served.add_metric([rule], count)
        yield served
    if left is not None:
        yield GaugeMetricFamily(
            PREFIX + "relay_expiry_seconds",
            "Time until the relay's credentials expire; below 0 they have expired.",
            left,
        )
    total, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts.latencies, strict=True):
        total += count
        buckets.append((bound, float(total)))
    yield HistogramMetricFamily(
        PREFIX + "relay_upstream_seconds",
        "Time that each request to the upstream endpoint took.",
        buckets=buckets,
        sum_value=counts.latency,
    )
