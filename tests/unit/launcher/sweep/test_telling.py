"""A sweep tells events for machines to read, and a table for people."""

from structlog.testing import capture_logs

from launcher.sweep.findings import Finding, Kind, Outcome, Report
from launcher.sweep.telling import log_report, write_table

TOKEN = Finding(Kind.TOKEN, "/tokens/1", "its hour is over")
RUNNER = Finding(Kind.RUNNER, "ecs-1-1", "it is offline, and 1 is gone")
DELIVERY = Finding(Kind.DELIVERY, "App 1: a-guid", "job 7 of octo/app: timed out")
JOB = Finding(Kind.JOB, "job 7 of octo/app", "it is queued for 9 minutes, and has no record")


def make_report():
    """Make a report with something of each kind."""
    report = Report()
    report.add(TOKEN, Outcome.FOUND)
    report.add(RUNNER, Outcome.REMOVED)
    report.add(RUNNER, Outcome.KEPT, "it has a job")
    report.add(TOKEN, Outcome.KEPT, "access denied", failed=True)
    report.add(DELIVERY, Outcome.SENT)
    report.add(JOB, Outcome.SENT)
    report.leave_out("tasks of runners", "access denied")
    report.leave_out("tasks of runners", "access denied")
    return report


def test_each_result_is_an_event_and_the_last_one_has_the_sums():
    """So a metric is made of either."""
    with capture_logs() as events:
        log_report(make_report(), 1.25, dry_run=False)
    assert [(each["event"], each["log_level"]) for each in events] == [
        ("orphan.found", "info"),
        ("orphan.removed", "info"),
        ("orphan.kept", "info"),
        ("orphan.kept", "error"),
        ("delivery.sent_again", "warning"),
        ("job.sent_again", "warning"),
        ("sweep.incomplete", "warning"),
        ("sweep.done", "info"),
    ]
    assert events[0] == {
        "event": "orphan.found",
        "log_level": "info",
        "kind": "token",
        "name": "/tokens/1",
        "reason": "its hour is over",
    }
    assert events[3]["reason"] == "access denied"
    assert events[-2]["left_out"] == ["tasks of runners: access denied"]
    sums = {"found": 1, "removed": 1, "kept": 2, "runners": 1, "tokens": 0, "left_out": 1}
    assert {**sums, "deliveries": 1, "jobs": 1, "seconds": 1.2}.items() <= events[-1].items()


def test_a_trial_says_what_it_would_do():
    """In an event of its own, so that nobody counts it as done."""
    report = Report()
    report.add(TOKEN, Outcome.WOULD_REMOVE)
    report.add(JOB, Outcome.WOULD_SEND)
    with capture_logs() as events:
        log_report(report, 1.0, dry_run=True)
    assert [each["event"] for each in events] == ["orphan.skipped"] * 2 + ["sweep.done"]
    assert (events[-1]["removed"], events[-1]["dry_run"]) == (0, True)


def test_a_table_has_a_line_for_each_result_and_says_what_is_left_out():
    """Its columns are as wide as what stands in them."""
    lines = write_table(make_report()).splitlines()
    assert lines[0].split() == ["what", "name", "why", "result"]
    assert lines[3].endswith("kept: it has a job")
    assert lines[-1] == "not looked at: tasks of runners: access denied"
    begins = {
        line.index(word) for line, word in zip(lines[:3], ("why", "its", "it is"), strict=True)
    }
    assert len(begins) == 1


def test_an_empty_table_says_so():
    """Nothing is a good answer, too."""
    assert write_table(Report()) == "nothing is left over\n"
