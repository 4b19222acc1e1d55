"""The first line that failed is found, of what still keeps a job from its end."""

import pytest

from launcher.explain.entries import Mark, Source
from launcher.identity import task_id
from launcher.places import Later, Why
from launcher.pools.document import parse_pools
from launcher.work import Maxima
from tests.unit.launcher.explain.asking import (
    begin,
    describe,
    event,
    iso,
    make_job,
    make_run,
    moment,
    opened,
    play,
    stream,
    texts,
)
from tests.unit.launcher.work.scene import POOLS, START, make_demand

FULL = Later(Why.CAPACITY, "cannot start a task: Capacity is unavailable at this time")
QUOTA = Later(Why.QUOTA, "cannot start a task: You've reached the limit on the number of vCPUs")
NOT_FOUND = "CannotPullContainerError: pull image manifest: not found"


# --- well ---------------------------------------------------------------------------------------


def test_a_job_that_waits_for_its_task_has_no_cause(monkeypatch):
    """All that was done stands in the order of time, and what is waited for comes last."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            asking.aws.tasks[task_id(launch.place)] |= {"lastStatus": "PENDING"}
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert told.subject == 'job 1 "build" of octo/app'
            assert told.state == "queued; its task has its token; its runner is not online yet"
            places = [entry.place for entry in told.entries]
            assert places == sorted(places)
            assert texts(told, Source.ECS, Mark.WAITS) == ["it is PENDING for 4 s"]
            assert texts(told, Source.SSM)[0].endswith("was written (version 1)")
            assert told.unseen == ()

    play(story())


def test_a_job_that_ran_has_no_cause_though_its_first_task_failed(monkeypatch):
    """The line stands there, and is no cause any more."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            first = launch.place
            await scene.send(scene.tasks.end(first, None, f"TaskFailedToStart: {NOT_FOUND}"))
            await scene.wait(5)
            launch = await scene.launch()
            await scene.boot()
            await scene.run(1, launch.runner_name)
            runner = launch.runner_name
            ran = make_job(
                "completed",
                conclusion="success",
                runner_name=runner,
                started_at=iso(6),
                completed_at=iso(7),
            )
            asking.hub.jobs[1] = ran
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert told.state == f"completed: success on {runner}"
            failed = texts(told, mark=Mark.FAILED)
            assert failed == [f"went wrong: TaskFailedToStart: {NOT_FOUND}; no exit code"]
            assert "its own runner got the job" in texts(told, Source.RECORD)

    play(story())


# --- before a task ------------------------------------------------------------------------------


def test_a_delivery_that_nobody_took_is_the_cause(monkeypatch):
    """Its answer is told, and which setting to look at; sent again and taken it is none."""

    async def story():
        async with opened() as (_, asking):
            asking.hub.deliver(401, "the signature is wrong", status="Invalid HTTP Response: 401")
            told = await asking.explain(monkeypatch)
            assert told.cause.source is Source.WEBHOOK
            assert "(401): the signature is wrong" in told.cause.text
            assert "LAUNCHER_WEBHOOK_SECRETS" in told.cause.advice
            asking.hub.deliver(202, seconds=1)
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert any("sent again, it was taken" in text for text in texts(told))

    play(story())


def test_a_delivery_that_failed_is_no_cause_if_a_worker_has_the_job(monkeypatch):
    """The queue answered too late, and has the message; of a launch that is over it says no more.

    A job may want another runner then, and its second delivery is the one that nobody took.
    """

    async def story():
        async with opened() as (scene, asking):
            launch = await scene.begin()
            late = {"answer": "the queue does not answer", "status": "Invalid HTTP Response: 503"}
            asking.hub.deliver(503, **late)
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            (text,) = texts(told, Source.WEBHOOK)
            assert text.endswith("the queue does not answer; a worker has the job all the same")
            await scene.run(1, launch.runner_name)
            asking.hub.deliver(503, seconds=60, guid="another", **late)
            told = await asking.explain(monkeypatch, now=START + 61)
            assert (told.cause.source, told.cause.at) == (Source.WEBHOOK, START + 60)

    play(story())


def test_no_delivery_at_all_is_the_cause(monkeypatch):
    """Those about other jobs do not count."""

    async def story():
        async with opened() as (_, asking):
            asking.hub.deliver(job=2)
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "GitHub lists no delivery that tells of the job"
            assert "workflow_job" in told.cause.advice

    play(story())


def test_a_delivery_that_no_worker_has_read_is_the_cause_after_two_minutes(monkeypatch):
    """Before that it is waited for; the queue's messages are counted."""

    async def story():
        async with opened() as (scene, asking):
            asking.hub.deliver()
            asking.messages["waiting"] = 3
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert "messages of all jobs: 3 waiting, 0 in flight, 0 delayed" in texts(told)
            scene.clock[0] += 300
            told = await asking.explain(monkeypatch)
            assert told.cause.source is Source.RECORD
            assert "no worker has written a record" in told.cause.text

    play(story())


def test_no_pool_with_the_labels_is_the_cause(monkeypatch):
    """The nearest is named."""

    async def story():
        async with opened() as (scene, asking):
            asking.hub.deliver()
            asking.hub.jobs[1] = make_job(labels=["self-hosted", "gpu"])
            await scene.send(make_demand(labels=("self-hosted", "gpu")))
            told = await asking.explain(monkeypatch)
            assert told.cause.source is Source.POOLS
            assert "nearest is small: it does not have gpu" in told.cause.text
            asking.hub.jobs[1] = make_job(labels=["ubuntu-latest"])
            told = await asking.explain(monkeypatch)
            assert "it asks for no label of any pool" in told.cause.text

    play(story())


def test_a_policy_that_refuses_is_the_cause(monkeypatch):
    """A fork, where forks are not admitted."""

    async def story():
        async with opened() as (_, asking):
            asking.hub.deliver()
            asking.hub.run = make_run(head_repository={"full_name": "eve/app"})
            told = await asking.explain(monkeypatch)
            assert "small: its commit comes from eve/app" in told.cause.text

    play(story())


def test_a_pool_that_is_full_is_the_cause(monkeypatch):
    """How many it has and may have."""

    async def story():
        async with opened(POOLS.replace("maximum = 3", "maximum = 1")) as (scene, asking):
            await scene.begin(2)
            await scene.send(make_demand(1))
            told = await asking.explain(monkeypatch)
            assert told.cause.text == (
                "the pool small has 1 of 1 runners starting or living: its maximum is reached"
            )
            assert "`maximum` of the pool" in told.cause.advice

    play(story())


def test_the_maximum_of_all_pools_is_the_cause(monkeypatch):
    """It is the settings', and the settings say it."""

    async def story():
        async with opened(maxima=Maxima(account=1)) as (scene, asking):
            await scene.begin(2)
            await scene.send(make_demand(1))
            told = await asking.explain(monkeypatch, maximum=1)
            assert told.cause.text.startswith("the account has 1 of 1")
            assert "LAUNCHER_MAXIMUM" in told.cause.advice

    play(story())


@pytest.mark.parametrize(
    ("answer", "words"), [(FULL, "AWS has no room now"), (QUOTA, "raise the account's quota")]
)
def test_a_launch_that_is_put_off_tells_why(monkeypatch, answer, words):
    """In AWS's words."""

    async def story():
        async with opened() as (scene, asking):
            scene.tasks.answers = [answer]
            await scene.send(make_demand())
            told = await asking.explain(monkeypatch)
            assert told.cause.text == f"went wrong: {answer.reason}"
            assert words in told.cause.advice
            assert "try 1, round 2: it waits to be started" in texts(told)

    play(story())


def test_a_pool_that_is_stopped_says_so(monkeypatch):
    """Its breaker, and until when."""

    async def story():
        async with opened() as (scene, asking):
            for _ in range(6):
                await scene.records.pools.count_failure("small")
            seen = await scene.records.pools.read("small")
            await scene.records.pools.stop("small", seen, scene.now() + 60)
            await scene.send(make_demand())
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "the pool is stopped for 55 s: its last 6 tasks failed"

    play(story())


@pytest.mark.parametrize(
    ("status", "words"),
    [("waiting", "waits for an approval"), ("pending", "another run of its concurrency group")],
)
def test_a_job_that_github_holds_back_says_so(monkeypatch, status, words):
    """Nobody starts a runner for it before."""

    async def story():
        async with opened() as (_, asking):
            asking.hub.deliver()
            asking.hub.jobs[1] = make_job(status)
            told = await asking.explain(monkeypatch)
            assert words in told.cause.text

    play(story())


def test_a_runner_group_that_the_repository_may_not_use_is_the_cause(monkeypatch):
    """Only an organization has groups; the default one has a name too."""

    async def story():
        async with opened() as (scene, asking):
            asking.hub.url = "https://github.com/octo"
            launch = await begin(scene, asking)
            scene.pools = parse_pools(f'{POOLS}runner_group = "gpus"\n')
            asking.hub.add_runner(launch.runner_name)
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "the runner group gpus is not visible to octo/app"
            asking.hub.groups.append("GPUs")
            assert (await asking.explain(monkeypatch)).cause is None

    play(story())


# --- of a task ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stopped", "words"),
    [
        ({"stopCode": "TaskFailedToStart", "stoppedReason": NOT_FOUND}, "image or its tag"),
        (
            {
                "stopCode": "TaskFailedToStart",
                "stoppedReason": "ResourceInitializationError: unable to pull secrets from ssm",
            },
            "must read the secrets",
        ),
        ({"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task"}, "Spot capacity"),
        (
            {"stopCode": "EssentialContainerExited", "stoppedReason": "Task failed health checks"},
            "health check killed it",
        ),
    ],
)
def test_a_task_that_stopped_is_the_cause(monkeypatch, stopped, words):
    """ECS's code and reason, and what to change."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            task = describe(launch.place, "STOPPED", stoppedAt=moment(4), **stopped)
            asking.aws.tasks[task_id(launch.place)] = task
            told = await asking.explain(monkeypatch)
            assert told.cause.source is Source.ECS
            assert f"{stopped['stopCode']}: {stopped['stoppedReason']}" in told.cause.text
            assert words in told.cause.advice

    play(story())


def test_the_agent_s_own_words_are_nearer_than_its_exit_code(monkeypatch):
    """Whether the task is the launch's now or was that of an earlier try."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            first = launch.place
            task = describe(first, "STOPPED", stoppedAt=moment(4))
            task |= {"stopCode": "EssentialContainerExited", "stoppedReason": "gone"}
            task["containers"] = [{"name": "runner", "exitCode": 12}]
            asking.aws.tasks[task_id(first)] = task
            asking.aws.streams[stream(first)] = [
                event("life.started", 3),
                event("life.failed", 3.5, "error", reason="cannot read the token parameter /x"),
                event("life.ended", 3.6, exit_code=12, meaning="no token"),
            ]
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "the agent failed: cannot read the token parameter /x"
            await scene.send(scene.tasks.end(first, 12))
            await scene.wait(5)
            assert (await scene.launch()).place != first
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "the agent failed: cannot read the token parameter /x"
            assert told.cause.task == task_id(first)

    play(story())


def test_a_wrong_setting_is_told_though_the_agent_has_no_log_yet(monkeypatch):
    """It prints lines that are no events, and ends."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            task = describe(launch.place, "STOPPED", stoppedAt=moment(4))
            task |= {"stopCode": "EssentialContainerExited", "stoppedReason": "gone"}
            task["containers"] = [{"name": "runner", "exitCode": 11}]
            asking.aws.tasks[task_id(launch.place)] = task
            asking.aws.streams[stream(launch.place)] = ["SIDECAR_WORK_DIR must be a name"]
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "SIDECAR_WORK_DIR must be a name"

    play(story())


def test_a_runner_that_went_offline_is_the_cause(monkeypatch):
    """One that has not begun to listen only is not online yet."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            asking.hub.add_runner(launch.runner_name, online=False)
            told = await asking.explain(monkeypatch)
            assert told.cause is None
            assert any("not online yet" in text for text in texts(told))
            asking.aws.streams[stream(launch.place)] = [event("runner.started", 4)]
            told = await asking.explain(monkeypatch)
            assert told.cause.text == f"the runner {launch.runner_name} is registered and offline"

    play(story())


def test_a_runner_that_another_job_took_is_the_cause(monkeypatch):
    """Until the launch has another one, and its job began."""

    async def story():
        async with opened() as (scene, asking):
            launch = await begin(scene, asking)
            stored = await scene.records.read(launch.id)
            stolen = stored.stolen(f"another job took {stored.runner_name}")
            await scene.records.save(stolen.next_try("its task ended"))
            told = await asking.explain(monkeypatch)
            assert told.cause.text == f"another job took {launch.runner_name}"

    play(story())


def test_a_token_that_nobody_read_for_an_hour_is_a_failure(monkeypatch):
    """GitHub does not accept it any more."""

    async def story():
        async with opened() as (scene, asking):
            await begin(scene, asking)
            scene.clock[0] += 4000
            told = await asking.explain(monkeypatch)
            assert "the token is 66 min old" in " ".join(texts(told, Source.SSM, Mark.FAILED))

    play(story())


# --- the job's own end --------------------------------------------------------------------------


def test_a_job_that_was_cancelled_before_it_had_a_runner_says_so(monkeypatch):
    """Whatever else failed before."""

    async def story():
        async with opened() as (scene, asking):
            scene.tasks.answers = [FULL]
            await scene.send(make_demand())
            asking.hub.jobs[1] = make_job("completed", conclusion="cancelled", completed_at=iso(3))
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "cancelled before a runner had it"
            assert told.state == "completed: cancelled, without a runner"

    play(story())


def test_a_job_that_failed_by_itself_is_not_blamed_on_its_start(monkeypatch):
    """What failed before it began is none of its failure; what its agent says is."""

    async def story():
        async with opened() as (scene, asking):
            scene.tasks.answers = [FULL]
            await scene.send(make_demand())
            await scene.wait(120)
            launch = await scene.launch()
            await scene.boot()
            await scene.run(1, launch.runner_name)
            asking.hub.jobs[1] = make_job(
                "completed",
                conclusion="failure",
                runner_name=launch.runner_name,
                started_at=iso(130),
                completed_at=iso(140),
            )
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "completed: failure"
            asking.aws.tasks[task_id(launch.place)] = describe(launch.place)
            asking.aws.streams[stream(launch.place)] = [
                event("memory.exhausted", 135, "warning", kills=1)
            ]
            told = await asking.explain(monkeypatch)
            assert told.cause.text == "the kernel killed processes: the memory was full"

    play(story())
