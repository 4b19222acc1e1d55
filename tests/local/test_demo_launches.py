"""Run `make demo LAUNCH=…` as a person does, checked by last line and exit code."""

import pytest

from tests.local.test_demo import in_order, run_demo

LEFT_RUNNING = """
import sys
from local import launches
from local.demo import __main__
find_parameters = launches.Stage.find_parameters
async def find_one_more(self):
    return [*await find_parameters(self), "/launches/tokens/forgotten"]
launches.Stage.find_parameters = find_one_more
sys.exit(__main__.main())
"""

BREAKING = """
import sys
from local import launches
from local.demo import __main__
async def break_it(self):
    raise OSError("the disk is full")
launches.Stage.find_parameters = break_it
sys.exit(__main__.main())
"""


def show(*options):
    """Run it; return its lines, of which the last says that all was verified."""
    code, lines = run_demo(*options)
    assert code == 0, "\n".join(lines)
    assert lines[-1].startswith("demo: ok")
    return lines


def test_a_queued_job_is_shown_from_webhook_to_nothing_left():
    """GitHub, webhook, worker, ECS and agent have their lines, in this order."""
    lines = show("--launch=webhook")
    assert in_order(
        lines,
        "has a job in its queue",
        "sends the webhook “queued”; the answer is 202",
        "finds the pool “build”",
        "has a new task on FARGATE_SPOT",
        "has read the token from SSM",
        "prints: I am",
        "is over: succeeded",
        "has stopped the task: exit code 0",
        "What is left",
    )


@pytest.mark.parametrize(
    ("end", "parts"),
    [
        ("no-capacity", ("finds no room", "has a new task", "is over: succeeded")),
        ("pull", ("has stopped the task: TaskFailedToStart", "try 2", "is over: succeeded")),
        ("cancel", ("cancels the job", "UserInitiated (its job is completed)")),
    ],
)
def test_each_ending_is_shown_and_verified(end, parts):
    """END=no-capacity, pull and cancel each show and verify their own ending."""
    assert in_order(show("--launch=webhook", f"--end={end}"), *parts, "What is left")


def test_many_jobs_are_shown_side_by_side():
    """A line for each that is over, and one verdict for all."""
    lines = show("--launch=webhook", "--jobs=5")
    assert sum("is over: succeeded" in line for line in lines) == 5
    assert any("5 x exit code 0" in line for line in lines)


def test_a_step_of_a_workflow_starts_and_stops_runners():
    """LAUNCH=action runs the steps of the action as GitHub's runner does."""
    assert in_order(
        show("--launch=action"),
        "2 of 2 runners are online",
        "has run the action “start”: success",
        "is over: succeeded",
        "has run the action “stop”: success",
        "What is left",
    )


def test_a_queued_job_becomes_a_machine_whose_user_data_run():
    """LAUNCH=ec2: EC2, the machine's own words, its agent and GitHub have their lines, in order."""
    assert in_order(
        show("--launch=ec2"),
        "has a job in its queue",
        "finds the pool “machines”",
        "has the machine i-",
        "machine    begins: agent from image",
        "has read the token from SSM",
        "prints: I am",
        "is over: succeeded",
        "machine    the agent has ended with exit code 0",
        "has terminated i-",
        "What is left",
    )


@pytest.mark.parametrize(
    ("end", "parts"),
    [
        ("no-capacity", ("finds no room", "has the machine i-", "is over: succeeded")),
        (
            "hang",
            (
                "waits for a disk that never comes",
                "misses a runner: no runner is online after 30 s",
                "  | runner-sidecar: waits for a disk that never comes",
                "try 2",
                "is over: succeeded",
                "ended by the launcher, exit code 0",
            ),
        ),
    ],
)
def test_each_ending_of_a_machine_is_shown_and_verified(end, parts):
    """END=no-capacity and hang each show and verify their own ending."""
    assert in_order(show("--launch=ec2", f"--end={end}"), *parts, "What is left")


def test_the_api_starts_a_machine_in_another_account():
    """LAUNCH=api: a stranger is refused, the caller has one machine, its job runs there."""
    lines = show("--launch=api")
    assert any(" of the account 210987654321" in line for line in lines)
    assert in_order(
        lines,
        "has asked GitHub for a token",
        "asks as somebody else: 403",
        "asks /start: 200",
        "asks /start again: 200, the same answer",
        "asks /state: online",
        "is over: succeeded",
        "asks /state: done",
        "What is left",
    )


def test_what_is_left_makes_it_fail():
    """A parameter that is still there is named in the last line."""
    code, lines = run_demo("--launch=webhook", "--end=cancel", code=LEFT_RUNNING)
    assert code == 1
    assert lines[-1].startswith("demo: failed: parameters in SSM: /launches/tokens/forgotten")


def test_what_breaks_it_is_named():
    """The last line names the error itself, not the group of tasks that it ended."""
    code, lines = run_demo("--launch=webhook", "--end=cancel", code=BREAKING)
    assert code == 1
    assert lines[-1] == "demo: failed: OSError: the disk is full"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--launch=phone",), "cannot show LAUNCH=phone: try webhook, action, ec2, api"),
        (("--launch=webhook", "--end=never"), "END=never: try one of no-capacity, pull, cancel"),
        (("--launch=webhook", "--jobs=none"), "cannot show JOBS=none: try 1 to 50"),
        (("--launch=webhook", "--jobs=2", "--end=pull"), "try END alone, or JOBS alone"),
        (("--launch=action", "--jobs=2"), "cannot show STOP, END or JOBS with LAUNCH=action"),
        (("--launch=api", "--end=hang"), "cannot show STOP, END or JOBS with LAUNCH=api"),
        (("--launch=ec2", "--end=pull"), "END=pull: try one of no-capacity, hang"),
        (("--launch=ec2", "--jobs=2"), "cannot show STOP or JOBS with LAUNCH=ec2"),
        (("--end=pull",), "cannot show END or JOBS without LAUNCH=webhook"),
    ],
)
def test_what_cannot_be_shown_is_one_clear_line(options, words):
    """A wrong variable fails at once, and the line names what there is."""
    code, lines = run_demo(*options)
    assert code == 1
    assert len(lines) == 1
    assert words in lines[0]
