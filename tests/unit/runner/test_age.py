"""An old runner is warned about, by the time that its file holds."""

import os

from structlog.testing import capture_logs

from sidecar.runner import age

NOW = 1_800_000_000.0


def aged(root, days):
    """Make the program that old; give what is said of it."""
    built = NOW - days * age.DAY
    os.utime(root.listener, (built, built))
    with capture_logs() as events:
        age.warn(root, lambda: NOW)
    return events


def test_a_warning_after_twenty_five_days(root, program):
    """Not on the 25th day, but after it, with the number of days and what to do."""
    program("exit 0\n")
    assert aged(root, 0) == []
    assert aged(root, 25.9) == []
    (event,) = aged(root, 26.1)
    assert (event["event"], event["days"], event["log_level"]) == ("runner.outdated", 26, "warning")
    assert "newest actions/runner" in event["advice"]


def test_no_guess_where_the_time_says_nothing(root, program):
    """Reproducible builds write 1970 or 1980 into every file; a clock may be behind."""
    program("exit 0\n")
    assert aged(root, NOW / age.DAY) == []
    assert aged(root, (NOW - 315_532_800) / age.DAY) == []
    assert aged(root, -3) == []
    assert age.days(root, lambda: NOW) == 0


def test_no_program_has_no_age(root):
    """That it is missing is told elsewhere."""
    assert age.days(root) is None
    with capture_logs() as events:
        age.warn(root)
    assert events == []
