"""The report of a life, before and after its listener has started."""

from types import SimpleNamespace

from sidecar import phase
from sidecar.status.report import Report


def test_a_new_report_is_empty():
    """Health and metrics are served before anything else has begun."""
    report = Report()
    assert report.phase.name == phase.STARTING
    assert (report.relay, report.listener, report.error) == (None, None, None)
    assert (report.cleanup_stack.steps, dict(report.retries)) == ([], {})


def test_it_is_ready_when_the_listener_is():
    """Not before the listener has started."""
    report = Report()
    assert not report.ready
    for ready in (False, True):
        report.listener = SimpleNamespace(ready=ready)
        assert report.ready is ready
