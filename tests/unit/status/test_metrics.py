"""`/metrics`, read by Prometheus's own parsers; its library is imported only when needed."""

import asyncio
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as open_parser

from sidecar import phase
from sidecar.net import http_server
from sidecar.relay.counts import BOUNDS, Counts
from sidecar.shutdown.cleanup import run_cleanup
from sidecar.shutdown.stop import Stop
from sidecar.status.health_server import HealthHandler
from sidecar.status.report import Report

OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
PLAIN = ""
# What Prometheus's guide to naming metrics calls base units.
UNITS = ("seconds", "bytes", "ratio", "total", "info", "count", "sum", "bucket")
UNITLESS = {"phase", "ready", "job", "undo"}
"""States, which have no unit."""


def request_metrics(report, accept=PLAIN, method="GET"):
    """Return the answer to one request for metrics."""
    request = http_server.Request(method, "/metrics", {"accept": accept}, "127.0.0.1")
    answer = HealthHandler(report).answer(request)
    assert answer.status == 200
    return answer


def families(report, accept=PLAIN):
    """Read the answer as Prometheus does; return the families by name."""
    answer = request_metrics(report, accept)
    text = answer.body.decode()
    if accept:
        assert answer.content_type.startswith("application/openmetrics-text")
        found = list(open_parser.text_string_to_metric_families(text))
    else:
        assert answer.content_type.startswith("text/plain; version=0.0.4")
        found = list(parser.text_string_to_metric_families(text))
    names = [family.name for family in found]
    assert len(names) == len(set(names)), "a family is there once"
    return {family.name: family for family in found}


def value(found, name, **labels):
    """Return the one sample of that name and these labels."""
    (sample,) = [
        sample
        for family in found.values()
        for sample in family.samples
        if sample.name == f"runner_sidecar_{name}" and labels.items() <= sample.labels.items()
    ]
    return sample.value


@pytest.fixture
def report():
    """Give the report of a life with a job and a relay that has answered."""

    async def done():
        return "deleted"

    async def failed():
        raise OSError("no route")

    async def clean_up():
        async with run_cleanup(report.cleanup_stack, Stop(10)):
            report.cleanup_stack.register_step("token", done)
            report.cleanup_stack.register_step("runner", failed)
        report.cleanup_stack.register_step("protection", done)

    report = Report()
    asyncio.run(clean_up())
    report.phase.enter(phase.WAITING)
    report.phase.enter(phase.BUSY)
    report.listener = SimpleNamespace(ready=True, running=True, had_job=True)
    counts = Counts()
    for answer in (("ecs", 200), ("ecs", 200), ("imds", 404)):
        counts.count_answer(*answer)
    counts.refreshes["success"] += 2
    counts.rules["deploy"] = 2
    for seconds in (0.005, 0.006, 3.0):
        counts.count_try(seconds)
    report.relay = SimpleNamespace(counts=counts, state=SimpleNamespace(seconds_left=900.5))
    report.retries.update(["Unavailable", "Unavailable", "Trouble"])
    return report


@pytest.mark.parametrize("accept", [PLAIN, OPEN])
def test_every_metric_is_there(report, accept):
    """Phase, job, relay, retries, cleanup, life and build, in both formats."""
    found = families(report, accept)
    assert value(found, "phase", phase="busy") == 1
    assert sum(sample.value for sample in found["runner_sidecar_phase"].samples) == 1
    assert value(found, "job") == value(found, "ready") == 1
    assert value(found, "relay_refreshes_total", result="success") == 2
    assert value(found, "relay_refreshes_total", result="failure") == 0
    assert value(found, "relay_answers_total", face="ecs", status="200") == 2
    assert value(found, "relay_answers_total", face="imds", status="404") == 1
    assert value(found, "relay_credentials_total", rule="deploy") == 2
    assert value(found, "relay_expiry_seconds") == 900.5
    assert value(found, "relay_upstream_seconds_count") == 3
    assert value(found, "relay_upstream_seconds_sum") == pytest.approx(3.011)
    assert value(found, "relay_upstream_seconds_bucket", le="0.005") == 1
    assert value(found, "relay_upstream_seconds_bucket", le="0.01") == 2
    assert value(found, "relay_upstream_seconds_bucket", le="2.5") == 2
    assert value(found, "relay_upstream_seconds_bucket", le="+Inf") == 3
    assert value(found, "retries_total", error="Unavailable") == 2
    for undo, state in (("token", "done"), ("runner", "failed"), ("protection", "pending")):
        assert value(found, "undo", undo=undo, state=state) == 1
        assert (
            sum(
                sample.value
                for sample in found["runner_sidecar_undo"].samples
                if sample.labels["undo"] == undo
            )
            == 1
        )
    assert 0 < value(found, "life_seconds") < 60
    assert re.fullmatch(r"\d+\.\d+\S*", found_version(found))


def found_version(found):
    """Return the agent's version from the build information."""
    (sample,) = [
        sample
        for family in found.values()
        for sample in family.samples
        if sample.name == "runner_sidecar_build_info"
    ]
    return sample.labels["version"]


@pytest.mark.parametrize("accept", [PLAIN, OPEN])
def test_names_are_as_prometheus_wants_them(report, accept):
    """As promtool's linter demands: help, base units, _total for counters only."""
    own = {name: f for name, f in families(report, accept).items() if name.startswith("runner_")}
    assert len(own) >= 11
    for name, family in own.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge", "histogram", "info"}
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert not re.search(r"_(milliseconds|ms|minutes|kb|percent)\b", sample.name)
            short = sample.name.removeprefix("runner_sidecar_")
            assert short in UNITLESS or short.endswith(UNITS), short
            assert all(re.fullmatch(r"[a-z]+", label) for label in sample.labels)
            assert family.type == "info" or family.type not in short.split("_")
        if family.type == "counter" and "seconds" not in name:
            assert name.endswith("s")


def test_a_life_that_has_just_begun_has_metrics():
    """Without those of parts that are not there yet."""
    found = families(Report())
    assert value(found, "phase", phase="starting") == 1
    assert value(found, "job") == value(found, "ready") == 0
    assert not any("relay" in name for name in found)


def test_without_credentials_there_is_no_expiry(report):
    """No number is better than a wrong one."""
    report.relay.state.seconds_left = None
    assert "runner_sidecar_relay_expiry_seconds" not in families(report)


def test_every_phase_is_a_series_from_the_beginning():
    """A series that comes and goes cannot be alerted upon."""
    found = families(Report())
    shown = {sample.labels["phase"] for sample in found["runner_sidecar_phase"].samples}
    assert shown == {getattr(phase, name) for name in dir(phase) if name.isupper()} - {phase.ALL}
    spent = found["runner_sidecar_phase_seconds"].samples
    assert {sample.labels["phase"] for sample in spent} == shown


def test_latencies_are_counted_in_their_buckets():
    """A bound belongs to its bucket, and nothing is lost above the last."""
    counts = Counts()
    for bound in BOUNDS:
        counts.count_try(bound)
        counts.count_try(bound + 1e-9)
    assert counts.latencies == [1, *[2] * (len(BOUNDS) - 1), 1]
    assert sum(counts.latencies) == 2 * len(BOUNDS)


def test_the_library_is_imported_by_the_first_request_for_metrics():
    """Not with the agent: most lives never get such a request."""
    program = (
        "import sys\n"
        "import sidecar.cli.run\n"
        "from sidecar.net import http_server as http\n"
        "from sidecar.status.health_server import HealthHandler\n"
        "from sidecar.status.report import Report\n"
        "def loaded(): return any(name.startswith('prometheus_client') for name in sys.modules)\n"
        "health = HealthHandler(Report())\n"
        "ask = lambda path: health.answer(http.Request('GET', path, {}, 'x')).status\n"
        "assert (ask('/healthz'), ask('/readyz'), ask('/nope'), loaded()) == "
        "(200, 503, 404, False)\n"
        "assert (ask('/metrics'), loaded()) == (200, True)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
