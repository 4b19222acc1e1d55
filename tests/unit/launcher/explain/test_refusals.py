"""What is refused, killed or out of reach is a failing line, with what to change."""

import pytest

from launcher.explain.entries import Mark, Source
from sidecar import github
from tests.unit.launcher.explain.asking import (
    begin,
    describe,
    event,
    iso,
    make_job,
    moment,
    opened,
    play,
    stream,
    task_id,
    texts,
)

MINT = "cannot POST /app/installations/5/access_tokens: GitHub answers"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (
            github.PermissionDenied(f"{MINT} 403: This installation has been suspended", 403),
            "resume the App's installation",
        ),
        (
            github.CredentialRefused(f"{MINT} 401: A JSON web token could not be decoded", 401),
            "the key that belongs to this App",
        ),
        (
            github.ClockRefused(f"{MINT} 401: this machine's clock is 99 s behind GitHub's", 401),
            "set the clock",
        ),
        (github.CredentialRefused("the App 1 is not installed for /repos/o/r"), "install the App"),
        (github.CredentialRefused("Bad credentials", 401), "replace the credential"),
    ],
)
def test_a_credential_that_github_refuses_is_the_cause(monkeypatch, error, advice):
    """The launcher has the same one, so it fails where `explain` does."""

    async def story():
        async with opened() as (_, asking):
            asking.hub.wrong = error
            told = await asking.explain(monkeypatch)
            assert told.cause.text.startswith(f"GitHub refuses the credential: {error}")
            assert advice in told.cause.advice
            assert not told.is_known

    play(story())


def test_a_question_that_is_refused_is_no_cause(monkeypatch):
    """It is only not seen: the launcher may have no need of it."""

    async def story():
        async with opened() as (_, asking):
            text = "cannot GET /x: GitHub answers 403: Resource not accessible by integration"
            asking.hub.wrong = github.PermissionDenied(text, 403)
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert any("needs Actions: read" in each.text for each in told.unseen)

    play(story())


def test_an_app_that_is_not_told_of_jobs_is_named(monkeypatch):
    """Where no delivery is listed, its events are asked for."""

    async def story():
        async with opened() as (_, asking):
            asking.hub.events = ["push"]
            told = await asking.explain(monkeypatch)
            assert "the App 1 is not subscribed to the event workflow_job" in told.cause.text
            assert "Workflow jobs" in told.cause.advice

    play(story())


def test_an_agent_that_never_reads_the_token_that_is_there_does_not_reach_ssm(monkeypatch):
    """After a minute; before that it may only be slow."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            asking.aws.streams[stream(launch.place)] = [event("token.awaited", 4)]
            assert (await asking.explain(monkeypatch)).cause is None
            scene.clock[0] += 90
            told = await asking.explain(monkeypatch)
            assert told.cause.source is Source.AGENT
            assert "it does not reach SSM" in told.cause.text
            assert "HTTPS_PROXY" in told.cause.advice

    play(story())


async def run_job(scene, asking, name=None):
    """Let the job run; return its launch."""
    launch = await begin(scene, asking)
    name = name or launch.runner_name
    asking.hub.jobs[1] = make_job("in_progress", started_at=iso(4), runner_name=name)
    return launch


async def kill(asking, launch, seconds, *more):
    """Let its container be killed so long after the stop."""
    task = describe(launch.place, "STOPPED", stoppedAt=moment(5 + seconds))
    task |= {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."}
    task["containers"] = [{"name": "runner", "exitCode": 137}]
    asking.aws.tasks[task_id(launch.place)] = task
    asking.aws.streams[stream(launch.place)] = [
        event("life.started", 3),
        event("stop.requested", 5, busy=True, budget=30.0),
        *more,
    ]


def test_an_agent_that_was_killed_within_its_stop_budget_names_both_times(monkeypatch):
    """Though its job is in progress at GitHub: nobody will tell that it ended."""

    async def story():
        async with opened() as (scene, asking):
            launch = await run_job(scene, asking)
            await kill(asking, launch, 10)
            told = await asking.explain(monkeypatch)
            words = "killed 10 s after the stop, within the agent's stop budget of 30 s"
            assert words in told.cause.text
            assert "SIDECAR_STOP_TIMEOUT" in told.cause.advice

    play(story())


@pytest.mark.parametrize("more", [(31, []), (10, [event("life.ended", 6, exit_code=0)])])
def test_a_kill_after_the_budget_or_the_life_says_nothing_of_the_budget(monkeypatch, more):
    """The agent had its time."""
    seconds, events = more

    async def story():
        async with opened() as (scene, asking):
            launch = await run_job(scene, asking)
            await kill(asking, launch, seconds, *events)
            told = await asking.explain(monkeypatch)
            assert not [text for text in texts(told) if "stop budget" in text]

    play(story())


def test_a_job_that_runs_elsewhere_is_not_lost_with_the_launch_s_task(monkeypatch):
    """Another runner has it."""

    async def story():
        async with opened() as (scene, asking):
            launch = await run_job(scene, asking, "another")
            await kill(asking, launch, 10)
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert texts(told, Source.ECS, Mark.FAILED)

    play(story())
