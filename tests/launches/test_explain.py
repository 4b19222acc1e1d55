"""`explain` tells whole launches: what happened, and the first line that failed."""

import asyncio
import json
import re
import time

import pytest

from local import ecs
from local.agent import PATIENCE
from local.aws import REGION
from local.faults import Rule
from tests.launches.stage import REPOSITORY, open_stage

LOG = {
    "awslogs-group": "/runners",
    "awslogs-region": REGION,
    "awslogs-stream-prefix": "agent",
}
LONG = [{"run": "sleep 600"}]
FULL = "cannot start another runner: pool/build has 1, its maximum"


def play(scene, aws, timeout=150, app=False, **settings):
    """Run one scene on a stage where one process is webhook and worker, and agents have logs."""

    async def run():
        async with open_stage(aws, queue=True, **settings) as stage:
            stage.ecs.definitions = [ecs.TaskDefinition(log_options=LOG)]
            if app:
                made, key = stage.add_app()
                stage.credential = {"github_app_id": str(made.id), "github_app_key": key}
            async with stage.serve():
                await scene(stage)

    asyncio.run(asyncio.wait_for(run(), timeout))


def url_of(stage, job):
    """Return the URL of a job's page."""
    return f"{stage.github.url}/{REPOSITORY}/actions/runs/{job.run.id}/job/{job.id}"


async def explain(stage, what, *options, code=0, **settings):
    """Explain something; return the story, in which no secret may be."""
    await stage.keep_logs(LOG)
    ended, process = await stage.ask("explain", str(what), "--json", *options, **settings)
    assert ended == code, process.transcript()
    check_no_secret(stage, process)
    return json.loads(process.text)


async def explain_cause(stage, what, *options, **settings):
    """Explain until there is a cause: a record is written a moment after what it tells of."""
    deadline = time.monotonic() + PATIENCE
    while True:
        story = await explain(stage, what, *options, **settings)
        if story["cause"] is not None:
            return story
        assert time.monotonic() < deadline, story


def check_no_secret(stage, process):
    """Check that what was printed holds no secret, and no key of a sealed token."""
    requests = json.dumps(stage.ecs.requests)
    keys = re.findall(r'"SIDECAR_TOKEN_KEY", "value": "([^"]+)"', requests)
    for secret in [*stage.find_secrets(), *keys]:
        assert secret not in process.transcript()


def lines(story, source=None, mark=None):
    """Return the texts of a story's timeline."""
    return [
        entry["text"]
        for entry in story["timeline"]
        if source in (None, entry["source"]) and mark in (None, entry["mark"])
    ]


def find(story, words):
    """Return the first line that has these words."""
    found = [entry for entry in story["timeline"] if words in entry["text"]]
    assert found, json.dumps(story, indent=1)
    return found[0]


async def wait_for_task(stage, look=lambda _: True):
    """Wait until there is a task for which `look` holds; return it."""
    await stage.ecs.wait_for(lambda: [task for task in stage.ecs.tasks if look(task)])
    return next(task for task in stage.ecs.tasks if look(task))


# --- well ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("app", [True, False])
def test_a_job_that_succeeded_is_told_from_its_delivery_to_the_agent_s_end(aws, app):
    """By its URL, its number, its task and its runner it is the same story; nothing failed."""

    async def scene(stage):
        job = stage.queue_job("self-hosted", "build")
        await stage.wait_for_job(job)
        await stage.check_nothing_left()
        story = await explain(stage, url_of(stage, job))
        assert story["cause"] is None, story
        assert story["state"].startswith("completed: success on ecs-")
        (task,) = stage.ecs.tasks
        sources = [entry["source"] for entry in story["timeline"]]
        assert set(sources) >= {"github", "webhook", "pools", "record", "ecs", "agent", "ssm"}
        for words in (
            "it asks for self-hosted, build",
            "answered 202",
            "the pool build has all of its labels",
            "admitted to the pool build",
            f"task {task.facts.id} of runner:1 on FARGATE_SPOT",
            "it has read its token",
            "the runner listens for a job",
            "the agent ended: exit code 0",
            "its own runner got the job",
        ):
            find(story, words)
        times = [entry["at"] for entry in story["timeline"] if "at" in entry]
        assert times == sorted(times)
        assert story["unseen"] == []
        for what in (job.id, task.arn, task.facts.id, job.runner_name):
            again = await explain(stage, what)
            assert (again["subject"], again["state"]) == (story["subject"], story["state"])

    play(scene, aws, app=app)


def test_a_job_in_progress_is_told_while_it_goes_on(aws):
    """Its runner is busy, and so far nothing failed."""

    async def scene(stage):
        world = stage.github.world
        job = stage.queue_job("build", steps=LONG)

        def look():  # having got its job, the runner asks for the next message
            runner = world.runners.get(job.runner_id) if job.acquired else None
            return (runner is not None and world.online(runner)) or None

        assert await world.changes.until(look, PATIENCE)
        story = await explain(stage, url_of(stage, job))
        assert story["cause"] is None, story
        assert story["state"] == f"in progress on {job.runner_name}"
        assert f"the runner {job.runner_name} is online and busy" in lines(story)
        assert "it is RUNNING" in lines(story, "ecs")
        stage.github.world.cancel(job)
        await stage.wait_for_job(job, "canceled")
        await stage.check_nothing_left()

    play(scene, aws)


# --- it waits -----------------------------------------------------------------------------------


def test_a_job_that_is_queued_while_its_task_starts_waits_for_it(aws):
    """What it waits for stands in the last lines; nothing failed."""

    async def scene(stage):
        stage.ecs.may_run.clear()
        job = stage.queue_job("build")
        await wait_for_task(stage)
        await stage.launchers[0].wait_for_event("token.handed_over")
        story = await explain(stage, url_of(stage, job))
        assert story["cause"] is None, story
        assert story["state"].startswith("queued; its task has its token")
        assert any("it is PROVISIONING for" in text for text in lines(story, "ecs", "waits"))
        assert "it is there: unread, or not deleted yet" in lines(story, "ssm")
        stage.ecs.may_run.set()
        await stage.wait_for_job(job)
        await stage.check_nothing_left()

    play(scene, aws)


def test_a_job_that_waits_for_an_approval_says_so(aws):
    """Nobody starts a runner for it before."""

    async def scene(stage):
        job = stage.queue_job("build", environment="production")
        await stage.wait_for_answers()
        story = await explain(stage, url_of(stage, job))
        assert "it waits for an approval" in story["cause"]["text"]

    play(scene, aws)


def test_a_job_for_which_no_pool_has_the_labels_names_the_nearest(aws):
    """Which label is missing stands in the first failing line."""

    async def scene(stage):
        job = stage.queue_job("self-hosted", "gpu")
        assert await stage.empty_queue() == {}
        story = await explain(stage, url_of(stage, job))
        assert story["cause"]["source"] == "pools"
        assert "nearest is build: it does not have gpu" in story["cause"]["text"]

    play(scene, aws)


def test_a_full_pool_is_the_cause(aws):
    """How many live, and how many may, is told."""

    async def scene(stage):
        first = stage.queue_job("build", steps=LONG)
        await stage.github.world.changes.until(lambda: first.acquired or None, 60)
        second = stage.queue_job("build")
        put_off = stage.launchers[0].wait_for_event
        await put_off("message.put_off", reason=FULL)
        story = await explain_cause(stage, url_of(stage, second))
        assert story["cause"]["source"] == "pools", story
        assert "the pool build has 1 of 1 runners" in story["cause"]["text"]
        assert "its maximum is reached" in story["cause"]["text"]
        for job in (second, first):
            stage.github.world.cancel(job)
        await stage.wait_for_job(first, "canceled")
        await stage.check_nothing_left()

    async def run():
        async with open_stage(aws, queue=True) as stage:
            text = stage.pools.read_text().replace("maximum = 50", "maximum = 1")
            stage.pools.write_text(text)
            async with stage.serve():
                await scene(stage)

    asyncio.run(asyncio.wait_for(run(), 150))


def test_no_capacity_is_the_cause_while_a_launch_is_put_off(aws):
    """AWS's own words, and what may be changed."""

    async def scene(stage):
        stage.ecs.droughts.append(ecs.Drought())
        job = stage.queue_job("build")
        await stage.launchers[0].wait_for_event("task.delayed")
        story = await explain_cause(stage, url_of(stage, job))
        assert "Capacity is unavailable" in story["cause"]["text"]
        assert "capacities" in story["cause"]["advice"]
        stage.github.world.cancel(job)
        await stage.check_nothing_left()

    play(scene, aws)


# --- it fails -----------------------------------------------------------------------------------


def test_a_delivery_that_was_refused_is_the_cause(aws):
    """The wrong secret: the answer, and which setting."""

    async def scene(stage):
        for hook in stage.github.world.hooks:
            hook.secret = "not the secret that was agreed"
        job = stage.queue_job("build")
        await stage.wait_for_answers()
        story = await explain(stage, url_of(stage, job))
        assert story["cause"]["source"] == "webhook"
        assert "(401): the signature is missing or wrong" in story["cause"]["text"]
        assert "LAUNCHER_WEBHOOK_SECRETS" in story["cause"]["advice"]

    play(scene, aws, app=True)


def test_a_task_that_cannot_pull_its_image_is_the_cause(aws):
    """Three tasks, and the story says why the first one never ran."""

    async def scene(stage):
        stage.ecs.failing_starts = [ecs.CANNOT_PULL] * 3
        job = stage.queue_job("build")
        await stage.launchers[0].wait_for_event("launch.given_up")
        story = await explain(stage, url_of(stage, job))
        assert story["cause"]["source"] == "ecs", story
        assert "TaskFailedToStart: CannotPullContainerError" in story["cause"]["text"]
        assert "the image or its tag is not there" in story["cause"]["advice"]
        assert "3 tasks ended before" in story["state"]
        assert len([text for text in lines(story, "ecs") if "CannotPull" in text]) == 3

    play(scene, aws)


def test_a_job_that_was_cancelled_while_it_was_queued_says_so(aws):
    """Its task is stopped, and that is no failure of the task's."""

    async def scene(stage):
        stage.ecs.may_run.clear()
        job = stage.queue_job("build")
        await wait_for_task(stage)
        stage.github.world.cancel(job)
        stage.ecs.may_run.set()
        await stage.check_nothing_left()
        story = await explain(stage, url_of(stage, job))
        assert story["cause"]["text"] == "cancelled before a runner had it"

    play(scene, aws)


WRONG_TOKEN = Rule("status", target="GetParameter", error="KmsAccessDenied")


def test_an_agent_that_cannot_read_its_token_tells_the_cause_in_its_log(aws):
    """Read from CloudWatch Logs, by the task definition's options."""

    async def scene(stage):
        stage.ssm.add(WRONG_TOKEN)
        job = stage.queue_job("build")
        await wait_for_task(stage, lambda task: task.status == "STOPPED")
        story = await explain_cause(stage, url_of(stage, job))
        assert story["cause"]["source"] == "agent", story
        assert "the agent failed: cannot read" in story["cause"]["text"]
        assert "kms:Decrypt" in story["cause"]["text"]
        assert any("exit code 12" in text for text in lines(story, "ecs"))
        stage.github.world.cancel(job)
        await stage.check_nothing_left()

    play(scene, aws)


def test_an_agent_s_log_may_be_a_file(aws, tmp_path):
    """As a log driver or a tool has written it, with its own words before each event."""

    async def scene(stage):
        stage.ssm.add(WRONG_TOKEN)
        job = stage.queue_job("build")
        task = await wait_for_task(stage, lambda task: task.status == "STOPPED")
        written = [f"runner-1  | {line}" for line in task.process.text.splitlines()]
        file = tmp_path / "agent.log"
        file.write_text("\n".join(written))
        story = await explain_cause(stage, task.arn, "--log", str(file))
        assert story["cause"]["source"] == "agent", story
        assert "kms:Decrypt" in story["cause"]["text"]
        stage.github.world.cancel(job)
        await stage.check_nothing_left()

    play(scene, aws)


# --- what cannot be seen ------------------------------------------------------------------------


def test_a_source_that_refuses_is_a_line_of_its_own_and_the_rest_is_told(aws):
    """Which permission it needs; and a task that ECS has forgotten is said to be gone."""

    async def scene(stage):
        job = stage.queue_job("build")
        await stage.wait_for_job(job)
        await stage.check_nothing_left()
        stage.front.add(Rule("status", target="DescribeTasks", error="AccessDeniedException"))
        stage.ssm.add(Rule("status", target="DescribeParameters", error="AccessDeniedException"))
        stage.ssm.add(Rule("status", target="FilterLogEvents", error="AccessDeniedException"))
        story = await explain(stage, url_of(stage, job))
        assert story["state"].startswith("completed: success")
        reasons = " ".join(each["reason"] for each in story["unseen"])
        for permission in ("ecs:DescribeTasks", "ssm:DescribeParameters", "logs:FilterLogEvents"):
            assert f"(needs {permission})" in reasons, story
        stage.front.clear()
        stage.ecs.missing = 1
        story = await explain(stage, url_of(stage, job))
        assert any("for about an hour" in each["reason"] for each in story["unseen"]), story

    play(scene, aws)


def test_nothing_but_the_cluster_is_enough_for_a_task(aws):
    """Of `start`, without table, pools and queue: what was not asked is said."""

    async def run():
        async with open_stage(aws) as stage:
            code, _ = await stage.run("start", "--labels", "build", "--wait", "running")
            assert code == 0
            (task,) = stage.ecs.tasks
            nothing = dict.fromkeys(("table", "pools", "queue_url", "github_pat"), "")
            code, process = await stage.ask("explain", task.facts.id, cluster="runners", **nothing)
            assert code == 0, process.transcript()
            assert "it is RUNNING" in process.text
            for name in ("LAUNCHER_TABLE", "LAUNCHER_POOLS", "LAUNCHER_GITHUB_PAT"):
                assert f"set {name}" in process.text or name in process.text
            check_no_secret(stage, process)

    asyncio.run(asyncio.wait_for(run(), 100))


def test_what_nobody_knows_is_said_and_is_a_refusal(aws):
    """A job's number that was mistyped."""

    async def scene(stage):
        story = await explain(stage, 4711, "--repository", REPOSITORY, code=12)
        assert not story["known"]
        assert any("404" in each["reason"] for each in story["unseen"])

    play(scene, aws)
