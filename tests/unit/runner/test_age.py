"""An old runner program causes a warning, by the time of its file."""

import os

from structlog.testing import capture_logs

from sidecar.runner import age

NOW = 1_800_000_000.0


def log_of_age(root, days):
    """Make the program that old; give what is logged."""
    built = NOW - days * age.DAY
    os.utime(root.listener, (built, built))
    with capture_logs() as events:
        age.warn_if_outdated(root, lambda: NOW)
    return events


def test_a_warning_after_twenty_five_days(root, program):
    """Not on the 25th day, but after it, with the number of days and what to do."""
    program("exit 0\n")
    assert log_of_age(root, 0) == []
    assert log_of_age(root, 25.9) == []
    (event,) = log_of_age(root, 26.1)
    assert (event["event"], event["days"], event["log_level"]) == ("runner.outdated", 26, "warning")
    assert "newest actions/runner" in event["advice"]


def test_no_warning_where_the_time_is_not_true(root, program):
    """Reproducible builds write 1970 or 1980 into every file; a clock may be behind."""
    program("exit 0\n")
    assert log_of_age(root, NOW / age.DAY) == []
    assert log_of_age(root, (NOW - 315_532_800) / age.DAY) == []
    assert log_of_age(root, -3) == []
    assert age.days_since_build(root, lambda: NOW) == 0


def test_no_program_has_no_age(root):
    """Another check reports that it is missing."""
    assert age.days_since_build(root) is None
    with capture_logs() as events:
        age.warn_if_outdated(root)
    assert events == []
