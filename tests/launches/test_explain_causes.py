"""`explain` names causes of the documents' table in its first failing line, each put up for real.

A stage plays several that need no agent: the first task may fail, and no second one is started.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from docs.causes import CAUSES
from local import ecs
from tests.launches.stage import open_stage
from tests.launches.test_explain import LOG, WRONG_TOKEN, explain, play, url_of, wait_for_task

TABLE = {cause.title: cause.explain for cause in CAUSES if cause.explain}
LOOKS = 8
"""How often is asked: a record is written a moment after what it tells of."""
NO_EXIT = "CannotPullContainerError: dial tcp 140.82.121.33:443: i/o timeout"
UNHEALTHY = "Task failed container health checks"
VCPUS = "You've reached the limit on the number of vCPUs you can run concurrently"


async def check_cause(stage, job, title):
    """Check that the first failing line is the table's."""
    source, _, words = TABLE[title].partition(": ")
    for _ in range(LOOKS):
        story = await explain(stage, url_of(stage, job))
        if story["cause"] is not None:
            break
    assert story["cause"], (title, story)
    assert story["cause"]["source"] == source, (title, story)
    assert words in story["cause"]["text"], (title, story)
    assert story["cause"]["advice"], (title, story)


async def end(stage, job):
    """Cancel a job, and put all right again."""
    stage.github.world.cancel(job)
    await stage.ecs.wait_for(lambda: stage.ecs.living() == [])
    stage.ecs.passable = None
    stage.ecs.definitions = [ecs.TaskDefinition(log_options=LOG)]
    stage.ecs.droughts.clear()


async def play_refusals(stage):
    """Play what RunTask refuses, or has no room for."""
    own = stage.ecs.definitions[0]

    async def check(title):
        job = stage.queue_job("build")
        await check_cause(stage, job, title)
        await end(stage, job)

    stage.ecs.passable = {own.task_role}
    await check("PassRole on the execution role missing")
    stage.ecs.passable = {own.execution_role}
    await check("PassRole on the task role missing")
    stage.ecs.definitions = [replace(own, status="INACTIVE")]
    await check("revision INACTIVE")
    stage.ecs.droughts = [ecs.Drought(reason=VCPUS)]
    await check("vCPU quota")
    stage.ecs.droughts = [ecs.Drought()]
    await check("capacity gone")


async def play_failing_tasks(stage):
    """Play what ends the first task; there is no room for another."""

    async def check(*titles, reason, stop=False):
        known = len(stage.ecs.tasks)
        stage.ecs.droughts = [ecs.Drought(skip=1)]
        if stop:
            stage.ecs.may_run.clear()
        else:
            stage.ecs.failing_starts = [reason]
        job = stage.queue_job("build")
        await stage.ecs.wait_for(lambda: stage.ecs.tasks[known:])
        task = stage.ecs.tasks[known]
        if stop:
            task.stop("EssentialContainerExited", reason)
        await stage.ecs.wait_for(lambda: task.status == "STOPPED")
        for title in titles:
            await check_cause(stage, job, title)
        stage.ecs.may_run.set()
        await end(stage, job)

    await check("image that is not there", reason=ecs.CANNOT_PULL)
    alike = ("private subnet without an exit", "security group without egress")
    await check(*alike, reason=NO_EXIT)
    await check("health check that kills", reason=UNHEALTHY, stop=True)


async def play_webhooks(stage):
    """Play what keeps a delivery from being taken."""
    for hook in stage.github.world.hooks:
        hook.secret = "not the secret that was agreed"
    job = stage.queue_job("build")
    await stage.wait_for_answers()
    await check_cause(stage, job, "wrong webhook secret")
    for app in stage.github.world.apps:
        app.events = []
    await check_cause(stage, stage.queue_job("build"), "App without the event")


@pytest.mark.parametrize("scene", [play_refusals, play_failing_tasks, play_webhooks])
def test_causes_that_no_agent_is_needed_for(aws, scene):
    """Refusals of RunTask, tasks that end before their agent begins, deliveries not taken."""
    play(scene, aws, timeout=400, app=True)


def test_an_agent_that_may_not_use_the_token_s_key(aws):
    """Its own words are the first failing line, before ECS's exit code."""

    async def run():
        async with open_stage(aws, queue=True) as stage:
            stage.ecs.definitions = [ecs.TaskDefinition(log_options=LOG)]
            stage.ecs.droughts = [ecs.Drought(skip=1)]
            stage.ssm.add(WRONG_TOKEN)
            async with stage.serve():
                job = stage.queue_job("build")
                await wait_for_task(stage, lambda task: task.status == "STOPPED")
                await check_cause(stage, job, "KMS key forbidden")

    asyncio.run(asyncio.wait_for(run(), 150))


def test_every_cause_that_explain_names_is_played():
    """A row without a test would be a promise that nobody holds."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [title for title in TABLE if f'"{title}"' not in text] == []
