"""The phase of a life, as log and health report it."""

from structlog.testing import capture_logs

from sidecar import phase
from sidecar.phase import Phase


def test_each_phase_is_logged_once_with_what_it_followed():
    """Entering is one event; entering the same again is none."""
    now = Phase()
    with capture_logs() as logs:
        now.enter(phase.WAITING)
        now.enter(phase.WAITING)
        now.enter(phase.IDLE, runner="r1")
    assert [(log["event"], log["phase"], log["after"]) for log in logs] == [
        ("phase.entered", "waiting-for-token", "starting"),
        ("phase.entered", "idle", "waiting-for-token"),
    ]
    assert logs[1]["runner"] == "r1"
    assert now.name == phase.IDLE


def test_durations_add_up_over_visits(monkeypatch):
    """A phase that is entered twice counts both stays; ages are seconds since then."""
    clock = iter([0.0, 2.0, 5.0, 9.0, 10.0, 12.0])
    monkeypatch.setattr(phase.time, "monotonic", lambda: next(clock))
    now = Phase()
    now.enter(phase.IDLE)
    now.enter(phase.BUSY)
    now.enter(phase.IDLE)
    assert now.durations == {"starting": 2.0, "idle": 3.0, "busy": 4.0}
    assert now.age == 1.0
    assert now.life == 12.0
