"""An order: as many runners as were asked for, or none."""

import pytest
from structlog.testing import capture_logs

from launcher import start as starting
from launcher.errors import Exit
from launcher.interruption import Interruption
from launcher.places import Later, Refused, Started, TaskState, Why
from launcher.start import Order, start, stop
from sidecar import github
from sidecar.aws.calls import AwsError, TransientError
from tests.support.loops import run
from tests.unit.launcher.test_launch import arn, stages


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    """Wait shortly for capacity, for tasks and for their ends."""
    monkeypatch.setattr(starting, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr("launcher.launch.FIRST_LOOK", 0.01)


def play(made, **more):
    """Start what is ordered; returns the exit code and the events."""
    order = Order(
        "default", "https://github.com/o/r", "key", **{"count": 1, "wait": "none", **more}
    )
    with capture_logs() as events:
        code = run("asyncio", start(order, made, Interruption()))
    return code, events


def find_reason(events, name="start.failed"):
    """Return the reason of the last event of that name."""
    return [event for event in events if event["event"] == name][-1]["reason"]


def test_what_was_started_stays_if_all_is_well():
    """The last event says which tasks and runners there are."""
    made = stages()
    code, events = play(made, count=2)
    assert code is Exit.DONE
    assert sorted(events[-1]["tasks"]) == [arn(1), arn(2)]
    assert len(events[-1]["runners"]) == 2
    assert made.ecs.done == []


def test_one_refusal_takes_back_all_others():
    """Not fewer than were asked for: none."""
    made = stages(Started(arn(1)), Refused("cannot start a task: access denied (needs x)"))
    code, events = play(made, count=2)
    assert code is Exit.REFUSED
    assert "needs x" in find_reason(events)
    assert made.store.held == {}
    assert made.connection.all == {}
    assert {state.status for state in made.ecs.states.values()} <= {"STOPPED"}


def test_capacity_is_waited_for():
    """As long as there is time."""
    code, events = play(stages(*[Later(Why.CAPACITY, "no room")] * 4))
    assert code is Exit.DONE
    assert find_reason(events, "task.delayed") == "no room"


def test_without_capacity_in_time_the_reason_is_said():
    """With what kept it: capacity, quota or throttle."""
    code, events = play(stages(*[Later(Why.QUOTA, "too many vCPUs")] * 99), timeout=1.0)
    assert code is Exit.LATER
    assert find_reason(events) == "too many vCPUs (quota); tried for 1 s"


def test_a_runner_that_does_not_come_in_time_is_taken_back():
    """Its task runs, and GitHub never sees it."""
    made = stages(Started(arn(1)))
    made.ecs.states[arn(1)] = TaskState(arn(1), "RUNNING", False, None, "")
    code, events = play(made, wait="online", timeout=0.1)
    assert code is Exit.TIMEOUT
    assert "(--timeout)" in find_reason(events)
    assert made.store.held == {}


def test_three_tasks_that_end_too_early_are_enough():
    """Each try has another task; all that they left is undone."""
    made = stages()
    for number in (1, 2, 3):
        made.ecs.states[arn(number)] = TaskState(arn(number), "STOPPED", True, 12, "Essential")
    code, events = play(made, wait="running")
    assert code is Exit.ENDED
    assert "exit code 12 (the agent could not get a registration token)" in find_reason(events)
    assert (made.store.held, made.connection.all) == ({}, {})


@pytest.mark.parametrize(("status", "code"), [("RUNNING", Exit.TIMEOUT), ("STOPPED", Exit.ENDED)])
def test_a_machine_that_is_missed_has_its_console_shown(status, code):
    """It hangs, or has ended: only there it says why. A task has no console."""
    ids = [f"i-0123456789abcde{number}" for number in range(3)]
    made = stages(*map(Started, ids))
    for each in ids:
        made.ecs.states[each] = TaskState(each, status, status == "STOPPED", None, "shutdown")

    async def read_console(machine):
        return [f"{machine} has no network"]

    made.ecs.read_console = read_console
    found, events = play(made, wait="online", timeout=0.3 if code is Exit.TIMEOUT else 60.0)
    assert found is code
    missed = [event for event in events if event["event"] == "runner.missed"]
    assert [event["machine"] for event in missed] == (ids if code is Exit.ENDED else ids[:1])
    assert all(event["console"] == [f"{event['machine']} has no network"] for event in missed)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (github.PermissionDenied("no", 403), Exit.REFUSED, "Self-hosted runners: write"),
        (github.TransientError("no answer"), Exit.UNAVAILABLE, "no answer"),
        (AwsError("SIDECAR_GITHUB_PAT is empty"), Exit.REFUSED, "LAUNCHER_GITHUB_PAT is empty"),
    ],
)
def test_an_error_of_github_has_its_exit_code(error, code, words):
    """And names the permission or the setting."""
    made = stages()
    made.connection.refusal = error
    found, events = play(made)
    assert found is code
    assert words in find_reason(events)
    assert made.store.held == {}


def test_a_mistake_of_its_own_is_cleaned_up_too():
    """The log holds the traceback."""
    made = stages()
    made.connection.refusal = KeyError("oops")
    code, events = play(made)
    assert code is Exit.BUG
    assert "start.crashed" in [event["event"] for event in events]
    assert made.ecs.done[-1] == "delete token"


def test_a_cleanup_that_fails_has_an_exit_code_of_its_own():
    """What is left is listed, with the id that finds it."""
    made = stages(Started(arn(1)), Refused("no"))
    made.store.denied = True
    code, events = play(made, count=2)
    assert code is Exit.LEFT_BEHIND
    (incomplete,) = [event for event in events if event["event"] == "cleanup.incomplete"]
    assert incomplete["left"] == [f"token of {arn(1)}"]


def test_a_stop_that_cannot_look_says_why():
    """Nothing is stopped then."""
    order = Order("default", "https://github.com/o/r", "key", 1)
    for error, expected in [
        (TransientError("no answer"), Exit.UNAVAILABLE),
        (AwsError("access denied (needs ecs:ListTasks)"), Exit.REFUSED),
    ]:
        made = stages()

        async def find(started_by, error=error):
            raise error

        made.ecs.find = find
        with capture_logs() as events:
            assert run("asyncio", stop(order, made)) is expected
        assert find_reason(events, "stop.failed") == str(error)
