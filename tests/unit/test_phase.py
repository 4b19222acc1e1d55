"""The phases of a life."""

from structlog.testing import capture_logs

from sidecar import phase
from sidecar.phase import Phase


def test_each_phase_is_logged_once_with_the_one_before():
    """Entering a phase is one event; entering the current one again is none."""
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
    """The time of a phase that is entered twice is the sum of both."""
    clock = iter([0.0, 2.0, 5.0, 9.0, 10.0, 12.0])
    monkeypatch.setattr(phase.time, "monotonic", lambda: next(clock))
    now = Phase()
    now.enter(phase.IDLE)
    now.enter(phase.BUSY)
    now.enter(phase.IDLE)
    assert now.durations == {"starting": 2.0, "idle": 3.0, "busy": 4.0}
    assert now.age == 1.0
    assert now.life == 12.0


def test_the_current_phase_counts_until_now(monkeypatch):
    """Health and metrics are read while a phase goes on."""
    clock = iter([0.0, 2.0, 5.0])
    monkeypatch.setattr(phase.time, "monotonic", lambda: next(clock))
    now = Phase()
    now.enter(phase.IDLE)
    assert now.seconds_by_phase() == {"starting": 2.0, "idle": 3.0}
