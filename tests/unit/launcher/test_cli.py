"""The commands: options in, an exit code out; mistakes are reported before anything is asked."""

import pytest

from launcher import cli, order_stages
from launcher.errors import Exit
from launcher.interruption import Interruption
from launcher.settings import load
from sidecar.values import TASK
from tests.unit.launcher.test_settings import LEAST


def refused(capsys, *arguments, environ=LEAST):
    """Run the command; it must be refused. Returns what it prints on standard error."""
    assert cli.main(arguments, environ, Interruption()) == Exit.SETTINGS
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_all_mistakes_of_options_and_settings_are_reported_at_once(capsys):
    """Before anything is contacted, one line for each."""
    environ = {**LEAST, "LAUNCHER_CLUSTER": "a b"}
    wrong = ("--count", "0", "--wait", "long", "--timeout", "x", "--labels=-a")
    lines = refused(capsys, "start", *wrong, environ=environ)
    assert [line.split()[0] for line in lines] == [
        "--labels",
        "--count",
        "--timeout",
        "--wait",
        "LAUNCHER_CLUSTER",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required: COMMAND"),
        (("start",), "--labels is missing"),
        (("start", "--labels", " , "), "--labels is missing"),
        (("start", "--labels", "a", "--count", "1.5"), "--count must be a number from 1 to 100"),
        (("start", "--labels", "a", "--count", "101"), "--count must be a number from 1 to 100"),
        (("stop",), "--key is missing"),
        (("stop", "--labels", "a"), "unrecognized arguments"),
        (("start", "--github-pat", "x"), "unrecognized arguments"),
    ],
)
def test_each_mistake_says_what_is_wrong(capsys, arguments, words):
    """A secret is no option: everybody may read a command line."""
    (line,) = refused(capsys, *arguments)
    assert words in line


def test_the_agent_is_told_where_its_token_will_be():
    """The launcher cannot know the task's id before there is a task, so the agent puts it in."""
    settings, _ = load({"parameter_prefix": "/a/b/", "subnets": "s-1"}, LEAST)
    destination = order_stages.make_destination(settings)
    assert destination.environment == (("SIDECAR_TOKEN_PARAMETER", f"/a/b/{TASK}"),)
    assert (destination.cluster, destination.subnets) == ("runners", ("s-1",))


def test_an_order_without_a_key_is_a_new_one():
    """With one it is the same each time, and may have been begun before."""

    def order(**own):
        return cli._read("start", {"labels": "a,b", **own}, {}, LEAST)[1]

    assert order().request != order().request
    assert not order().repeated
    first, second = order(key="k", count="2"), order(key="k", count="2")
    assert first == second
    assert first.repeated
    ids = [launch.id for launch in first.launches()]
    assert ids == [launch.id for launch in second.launches()]
    assert len(set(ids)) == 2
    assert {launch.order_id for launch in first.launches()} == {first.request}


# ---- services ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("webhook", ["QUEUE_URL", "WEBHOOK_SECRETS"]),
        ("work", ["GITHUB_APP_ID", "POOLS", "QUEUE_URL", "TABLE"]),
        ("serve", ["GITHUB_APP_ID", "POOLS", "QUEUE_URL", "TABLE", "WEBHOOK_SECRETS"]),
        ("api", ["GITHUB_APP_ID", "POOLS", "TABLE"]),
    ],
)
def test_a_service_reports_all_that_is_missing_at_once(capsys, command, missing):
    """It needs only what it uses."""
    lines = refused(capsys, command, environ={})
    assert sorted(line.split()[0] for line in lines) == [f"LAUNCHER_{name}" for name in missing]


@pytest.mark.parametrize(
    "arguments",
    [
        ("webhook", "--table", "x"),
        ("webhook", "--webhook-secrets", "x"),
        ("work", "--webhook-path", "/x"),
        ("serve", "--key", "x"),
        ("start", "--queue-url", "https://sqs/1/x"),
    ],
)
def test_a_command_has_no_option_of_another_one(capsys, arguments):
    """Nor a secret's."""
    (line,) = refused(capsys, *arguments)
    assert "unrecognized arguments" in line


def test_an_option_of_a_service_wins_over_its_variable(capsys):
    """As with all commands."""
    lines = refused(capsys, "webhook", "--queue-url", "x", environ={"LAUNCHER_QUEUE_URL": "y"})
    assert "must be the URL of an SQS queue, not 'x'" in "".join(lines)
