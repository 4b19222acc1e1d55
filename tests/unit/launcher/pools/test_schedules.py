"""The hours in which runners are kept warm."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from launcher.pools.schedules import read_schedule
from sidecar.documents.tables import Mistakes, Table

BERLIN = ZoneInfo("Europe/Berlin")


def schedule(**keys):
    """Read a schedule that must be good."""
    mistakes = Mistakes()
    table = Table({"min": 2, "time_zone": "Europe/Berlin", **keys}, mistakes, "here")
    found = read_schedule(table, 100)
    assert mistakes.lines() == ()
    return found


def at(day, clock, zone=BERLIN):
    """Return a time of November 2026; the 23rd is a Monday."""
    hour, minute = map(int, clock.split(":"))
    return datetime(2026, 11, day, hour, minute, tzinfo=zone)


@pytest.mark.parametrize(
    ("day", "clock", "covered"),
    [
        (23, "07:59", False),
        (23, "08:00", True),
        (27, "17:59", True),
        (27, "18:00", False),
        (28, "12:00", False),
    ],
)
def test_a_schedule_covers_its_hours(day, clock, covered):
    """The first minute belongs to it, the last does not."""
    found = schedule(days="mon-fri", **{"from": "08:00", "to": "18:00"})
    assert found.covers(at(day, clock)) is covered


@pytest.mark.parametrize(
    ("day", "clock", "covered"),
    [
        (27, "21:59", False),
        (27, "22:00", True),
        (28, "05:59", True),
        (28, "06:00", False),
        (28, "23:00", False),
    ],
)
def test_a_night_belongs_to_the_day_it_begins_on(day, clock, covered):
    """Friday's night ends on Saturday morning."""
    found = schedule(days=["fri"], **{"from": "22:00", "to": "06:00"})
    assert found.covers(at(day, clock)) is covered


def test_the_time_zone_counts_not_the_clock_of_the_caller():
    """The same moment, given in two zones."""
    found = schedule(**{"from": "08:00", "to": "09:00"})
    assert found.covers(at(23, "07:30", ZoneInfo("UTC")))
    assert not found.covers(at(23, "08:30", ZoneInfo("UTC")))


def test_a_change_of_clocks_moves_the_hours_with_it():
    """In summer eight o'clock in Berlin is six o'clock UTC."""
    found = schedule(**{"from": "08:00", "to": "09:00"})
    utc = ZoneInfo("UTC")
    assert found.covers(datetime(2026, 7, 1, 6, 30, tzinfo=utc))
    assert not found.covers(datetime(2026, 7, 1, 7, 30, tzinfo=utc))


def test_a_skipped_hour_is_not_there_and_a_double_one_counts_twice():
    """The nights of the change of clocks, minute by minute of the real time."""
    found = schedule(**{"from": "02:00", "to": "03:00"})
    utc = ZoneInfo("UTC")
    spring = [datetime(2026, 3, 29, hour, 30, tzinfo=utc) for hour in range(4)]
    autumn = [datetime(2026, 10, 25, hour, 30, tzinfo=utc) for hour in range(4)]
    assert [found.covers(each) for each in spring] == [False, False, False, False]
    assert [found.covers(each) for each in autumn] == [True, True, False, False]


def test_days_may_go_over_the_weekend():
    """And a schedule without days is for all of them, the whole day."""
    assert schedule(days="sat-mon,wed").days == {5, 6, 0, 2}
    assert schedule().covers(at(29, "23:59"))
    assert schedule(to="24:00").end == 24 * 60


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"days": "someday"}, "here: days: must be days such as mon-fri"),
        ({"days": 3}, "here: days: must be days"),
        ({"from": "8"}, "here: from: must be a time of day"),
        ({"from": "08:00", "to": "08:00"}, "here: to: must differ from 'from'"),
        ({"time_zone": "../etc/passwd"}, "here: time_zone: must be a time zone"),
        ({"time_zone": "Europe"}, "here: time_zone: must be a time zone"),
        ({"min": -1}, "here: min: must be a whole number from 0 to 100"),
        ({"min": None}, "here: min: is required"),
        ({"cron": "* * *"}, "here: cron: is no key here"),
    ],
)
def test_each_mistake_has_its_line(keys, line):
    """It names the key and what it must be."""
    mistakes = Mistakes()
    table = Table({"min": 2, "time_zone": "Europe/Berlin", **keys}, mistakes, "here")
    read_schedule(table, 100)
    (found,) = mistakes.lines()
    assert found.startswith(line)
