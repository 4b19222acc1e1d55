"""What cannot be seen is said, what nobody may see is masked, and the cause stands first."""

from dataclasses import replace

import pytest

from launcher.explain.entries import Source
from launcher.explain.showing import show_json, show_text
from launcher.places import Later, Why
from sidecar import github
from tests.unit.launcher.explain.asking import (
    SECRET,
    Asking,
    begin,
    denied,
    event,
    moment,
    opened,
    play,
    stream,
    texts,
)
from tests.unit.launcher.work.scene import POOLS, make_demand

FULL = Later(Why.CAPACITY, "cannot start a task: Capacity is unavailable at this time")


def test_each_source_that_refuses_is_a_line_and_the_rest_is_told(monkeypatch):
    """With the permission that it needs."""

    async def story():
        async with opened() as (scene, asking):
            await begin(scene, asking)
            for operation in ("DescribeTasks", "DescribeTaskDefinition", "DescribeParameters"):
                asking.aws.wrong[operation] = denied(operation)
            told = await asking.explain(monkeypatch)
            reasons = " ".join(entry.text for entry in told.unseen)
            assert (
                "cannot ask ECS about the task: access denied (needs ecs:DescribeTasks)" in reasons
            )
            assert "(needs ecs:DescribeTaskDefinition)" in reasons
            assert "(needs ssm:DescribeParameters)" in reasons
            assert told.state.startswith("queued; its task has its token")
            asking.hub.wrong = github.PermissionDenied("cannot GET x: GitHub answers 403", 403)
            told = await asking.explain(monkeypatch, "1")
            assert "needs Actions: read" in " ".join(entry.text for entry in told.unseen)
            assert told.subject == "job 1 of octo/app"

    play(story())


def test_a_task_that_ecs_has_forgotten_is_said_to_be_gone(monkeypatch):
    """Record and log still tell of it."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            asking.aws.tasks.clear()
            asking.aws.streams[stream(launch.place)] = [event("life.started", 3)]
            told = await asking.explain(monkeypatch)
            assert any("for about an hour" in entry.text for entry in told.unseen)
            assert "the agent begins" in texts(told, Source.AGENT)

    play(story())


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ({"logDriver": "awsfirelens", "options": {}}, "goes to awsfirelens; give it with --log"),
        (None, "stays on the host"),
        ({"logDriver": "awslogs", "options": {"awslogs-group": "/x"}}, "awslogs-stream-prefix"),
    ],
)
def test_a_log_that_is_elsewhere_is_asked_for(monkeypatch, log, words):
    """Only awslogs with a prefix tells its stream."""

    async def story():
        async with opened() as (scene, asking):
            await begin(scene, asking)
            asking.aws.log = log
            told = await asking.explain(monkeypatch)
            assert any(words in entry.text for entry in told.unseen)

    play(story())


def test_no_secret_and_no_control_character_is_shown(monkeypatch):
    """Not of a log, not of a delivery's answer, not the key in the launch's request."""

    async def story():
        pools = POOLS.replace('token = "just-in-time"', 'token = "registration"')
        async with opened(pools) as (scene, asking):
            scene.hub.create_registration_token = make_token
            launch = await begin(scene, asking)
            assert "SIDECAR_TOKEN_KEY" in launch.request
            asking.hub.deliver(500, f"\x1b[31m{SECRET}", status="bad", seconds=1, guid="h")
            asking.aws.streams[stream(launch.place)] = [
                event("life.failed", 3, "error", reason=f"token={SECRET}\x1b[2J\nnext")
            ]
            told = await asking.explain(monkeypatch)
            for shown in (show_text(told), show_json(told)):
                assert "canary" not in shown
                assert "\x1b" not in shown
                assert "SIDECAR_TOKEN_KEY" not in shown
            assert "\x1b[31;1m" in show_text(told, colors=True)

    play(story())


async def make_token(*, tries):
    """Make a registration token."""
    return github.IssuedToken(SECRET, moment(3600))


def test_the_text_has_a_line_for_each_entry_and_the_cause_first(monkeypatch):
    """The cause is marked where it stands, too."""

    async def story():
        async with opened() as (scene, asking):
            scene.tasks.answers = [FULL]
            await scene.send(make_demand())
            told = await asking.explain(monkeypatch)
            lines = show_text(told).splitlines()
            assert lines[0].startswith('job 1 "build" of octo/app: queued; try 1')
            assert lines[1] == f"first failing line: record: went wrong: {FULL.reason}"
            assert lines[2].startswith("what to change: AWS has no room now")
            marked = [line for line in lines if line.startswith("> ")]
            assert len(marked) == 1
            assert "FAILED" in marked[0]
            assert "2027-01-15 (UTC)" in lines

    play(story())


def test_what_nobody_knows_is_said(monkeypatch):
    """Then the answer is no story."""

    async def story():
        asking = Asking()
        asking.hub.jobs.clear()
        told = await asking.explain(monkeypatch)
        assert not told.is_known
        assert "no source that was asked knows it" in show_text(told)
        assert replace(told, is_known=True) != told

    play(story())
