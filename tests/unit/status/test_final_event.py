"""The final event: the facts of a life, and the same as metrics for CloudWatch."""

import asyncio
import json
import math
import re
import time
from types import SimpleNamespace

import pytest

from sidecar import phase
from sidecar.errors import Exit
from sidecar.shutdown.cleanup import run_cleanup
from sidecar.shutdown.stop import Stop
from sidecar.status import final_event
from sidecar.status.report import Report

UNITS = {"Seconds", "Microseconds", "Milliseconds", "Bytes", "Count", "Percent", "None"}


@pytest.fixture
def report(monkeypatch):
    """Give the report of a life with some phases, and with cleanup steps that failed or not.

    No time passes for it any more: its parts are read one after the other.
    """

    async def removed():
        return "api"

    async def refused():
        raise OSError("access denied")

    async def lifted():
        pass

    report = Report()
    for name in (phase.WAITING, phase.CONFIGURING, phase.IDLE, phase.BUSY, phase.STOPPING):
        report.phase.enter(name)
    report.cleanup_stack.register_step("protection", lifted)
    asyncio.run(clean_up(report, removed, refused))
    now = time.monotonic()
    monkeypatch.setattr(phase, "time", SimpleNamespace(monotonic=lambda: now))
    return report


async def clean_up(report, removed, refused):
    """Register two steps and run them."""
    async with run_cleanup(report.cleanup_stack, Stop(10)):
        report.cleanup_stack.register_step("runner", removed)
        report.cleanup_stack.register_step("token", refused)


def test_the_final_event_holds_the_whole_life(report):
    """Outcome, code, meaning, seconds of each phase, cleanup steps that are done or not."""
    facts = final_event.collect_facts(Exit.LEFT_BEHIND, report)
    seconds = facts.pop("phase_seconds")
    assert list(seconds) == [
        *(phase.STARTING, phase.WAITING, phase.CONFIGURING, phase.IDLE, phase.BUSY),
        phase.STOPPING,
    ]
    assert sum(seconds.values()) == pytest.approx(facts.pop("life_seconds"), abs=0.01)
    assert facts == {
        "outcome": "left-behind",
        "exit_code": 17,
        "meaning": Exit.LEFT_BEHIND.meaning,
        "undone": {"protection": "done", "runner": "api"},
        "left_behind": {"token": "access denied"},
    }


def test_an_error_is_in_the_final_event(report):
    """Its text is enough for somebody who sees only the last line."""
    report.error = "cannot register the runner: NotFound"
    facts = final_event.collect_facts(Exit.REGISTRATION, report)
    assert facts["error"] == report.error


def test_a_phase_that_came_twice_is_one(report):
    """Its seconds are added up; the current one counts until now."""
    report.phase.enter(phase.IDLE)
    spent = report.phase.seconds_by_phase()
    assert set(spent) == set(phase.ALL) - {phase.WARMING, phase.LAUNCHING, phase.DRAINING}
    assert sum(spent.values()) == pytest.approx(report.phase.life, abs=0.01)


def check_embedded(document):
    """Check what AWS's specification of the embedded metric format demands of a document."""
    metadata = document["_aws"]
    assert set(metadata) == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(metadata["Timestamp"], int)  # milliseconds since 1970
    assert 1.7e12 < metadata["Timestamp"] < 1e13
    assert metadata["CloudWatchMetrics"]
    for directive in metadata["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 1 <= len(directive["Namespace"]) <= 255
        assert directive["Dimensions"]
        for keys in directive["Dimensions"]:
            assert len(keys) <= 9
            for key in keys:
                assert 1 <= len(key) <= 255
                assert isinstance(document[key], str)
                assert document[key]
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert set(metric) <= {"Name", "Unit"}
            assert 1 <= len(metric["Name"]) <= 255
            assert metric["Unit"] in UNITS
            value = document[metric["Name"]]
            assert isinstance(value, int | float)
            assert not isinstance(value, bool)
            assert math.isfinite(value)
    assert len(json.dumps(document)) < 256 * 1024


@pytest.mark.parametrize("code", list(Exit))
def test_the_final_event_can_hold_metrics(report, code):
    """It keeps every rule of the format, for every outcome."""
    report.listener = SimpleNamespace(job_began=True)
    facts = final_event.collect_facts(code, report)
    document = json.loads(
        json.dumps(facts | final_event.embed_metrics(facts, report, "Team/Runners"))
    )
    check_embedded(document)
    assert document["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Team/Runners"
    assert document["failures"] == code.failure
    assert (document["lives"], document["jobs"], document["left_behind_count"]) == (1, 1, 1)


def test_a_life_without_a_listener_has_metrics_too(report):
    """It had no job; its start is all the time until it stopped."""
    facts = final_event.collect_facts(Exit.TOKEN, report)
    document = facts | final_event.embed_metrics(facts, report, "x", now=lambda: 1_800_000_000.5)
    check_embedded(document)
    assert document["_aws"]["Timestamp"] == 1_800_000_000_500
    assert document["jobs"] == 0


def test_dimensions_are_few(report):
    """Each value of a dimension is a metric that costs money: no name, no id, no reason."""
    facts = final_event.collect_facts(Exit.DONE, report)
    (directive,) = final_event.embed_metrics(facts, report, "x")["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [[], ["outcome"]]
    assert all(re.fullmatch(r"[a-z-]+", code.name.lower().replace("_", "-")) for code in Exit)


@pytest.mark.parametrize(
    ("code", "failed"), [(0, False), (1, True), (137, True), (Exit.IDLE, False), (Exit.BUG, True)]
)
def test_a_command_fails_unless_it_ends_with_0(code, failed):
    """Its exit code is its own, and may be any number."""
    assert final_event.is_failure(code) == failed
