"""`explain` names causes of the documents' table in its first failing line, each put up for real.

A stage plays several that need no agent: the first task may fail, and no second one is started.
"""

import asyncio
import json
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from docs.causes import CAUSES
from local import ecs, forward_proxy
from local.agent import PATIENCE
from local.faults import Rule
from local.github.apps import fresh_key
from local.github.runners import Runner
from local.github.scope import Scope
from tests.launches.stage import REPOSITORY, open_stage
from tests.launches.test_explain import (
    LOG,
    LONG,
    WRONG_TOKEN,
    explain,
    explain_cause,
    find,
    play,
    url_of,
)

TABLE = {cause.title: cause.explain for cause in CAUSES if cause.explain}
NO_EXIT = "CannotPullContainerError: dial tcp 140.82.121.33:443: i/o timeout"
UNHEALTHY = "Task failed container health checks"
VCPUS = "You've reached the limit on the number of vCPUs you can run concurrently"


async def check_cause(stage, job, title, code=0, **settings):
    """Check that the first failing line, or what it says to change, is the table's."""
    source, _, words = TABLE[title].partition(": ")
    story = await explain_cause(stage, url_of(stage, job), code=code, **settings)
    assert story["cause"]["source"] == source, (title, story)
    cause = story["cause"]
    assert words in f"{cause['text']}: {cause['advice']}", (title, story)
    assert cause["advice"], (title, story)


async def end(stage, job):
    """Cancel a job, and put all right again once its launch needs nothing more."""
    stage.github.world.cancel(job)
    async with asyncio.timeout(PATIENCE):
        while await stage.find_living():
            pass  # DynamoDB tells nobody of a change: each look takes a moment
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


def test_a_credential_that_github_refuses(aws):
    """Asked with the launcher's own credential, GitHub tells why: `explain` is refused, too."""

    async def run():
        async with open_stage(aws, queue=True) as stage:
            stage.ecs.definitions = [ecs.TaskDefinition(log_options=LOG)]
            stage.ecs.may_run.clear()
            app, key = stage.add_app()
            stage.credential = {"github_app_id": str(app.id), "github_app_key": key}
            async with stage.serve():
                await play_installation(stage, app.installations[0])
            stage.credential["github_app_key"] = fresh_key()[0]
            async with stage.serve():
                job = stage.queue_job("build")
                await check_cause(stage, job, "wrong App key", code=12)
                await end(stage, job)
            stage.credential["github_app_key"] = key
            await play_group(stage)

    asyncio.run(asyncio.wait_for(run(), 300))


async def play_installation(stage, installation):
    """Play what an owner of the account has to change."""
    installation.suspended_at = 1.0  # nobody is told of its jobs then
    job = stage.queue_job("build")
    await check_cause(stage, job, "suspended installation", code=12)
    await end(stage, job)
    installation.suspended_at = None
    installation.permissions["administration"] = "read"
    job = stage.queue_job("build")
    await stage.launchers[-1].wait_for_event("token.delayed")
    await check_cause(stage, job, "App without a permission")
    await end(stage, job)
    installation.permissions["administration"] = "write"


async def play_group(stage):
    """Play a runner that GitHub gives no job of this repository."""
    stage.pools.write_text(stage.pools.read_text() + 'runner_group = "linux"\n')
    settings = stage.github.world.settings
    settings.runner_groups.append("linux")
    settings.group_repositories["linux"] = ["another"]
    async with stage.serve(scope="organization"):
        job = stage.queue_job("build")
        await stage.launchers[-1].wait_for_event("token.handed_over")
        title = "runner group not visible to the repository"
        await check_cause(stage, job, title, scope="organization")
        await end(stage, job)


SKEWED = {
    "__type": "InvalidSignatureException",
    "message": "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z",
}


async def play_agents(stage):
    """Play what an agent tells itself; there is no room for a second task."""
    own = stage.ecs.definitions[0]

    async def check(title, **environment):
        known = len(stage.ecs.tasks)
        stage.ecs.definitions = [replace(own, environment=environment)]
        stage.ecs.droughts = [ecs.Drought(skip=1)]
        job = stage.queue_job("build")
        await stage.ecs.wait_for(lambda: stage.ecs.tasks[known:])
        await stage.ecs.wait_for(lambda: stage.ecs.tasks[known].status == "STOPPED")
        await check_cause(stage, job, title)
        stage.ssm.clear()
        await end(stage, job)

    stage.ssm.add(WRONG_TOKEN)
    await check("KMS key forbidden")
    headers = {
        "Date": formatdate(time() - 600, usegmt=True),
        "Content-Type": "application/x-amz-json-1.1",
    }
    body = json.dumps(SKEWED)
    answer = Rule("status", target="GetParameter", status=400, headers=headers, body=body)
    stage.ssm.add(answer)
    await check("clock off")
    async with forward_proxy.serving(("127.0.0.1", 9)) as proxy:
        proxy.mode = "swallow"
        environment = {"http_proxy": proxy.url, "SIDECAR_TOKEN_TIMEOUT": "3"}
        await check("proxy that swallows", **environment)


async def play_name(stage):
    """Play a runner of the launch's own name that somebody else has registered: nothing fails."""
    stage.ecs.may_run.clear()
    stage.ecs.droughts = [ecs.Drought(skip=1)]
    job = stage.queue_job("build")
    await stage.launchers[0].wait_for_event("token.handed_over")
    (record,) = (await stage.find_records()).values()
    scope, more = Scope.of_path(f"/repos/{REPOSITORY}"), {"visible_at": 0.0, "modulus": "1"}
    held = Runner(0, record["runner_name"], scope, [], ephemeral=True, **more)
    stage.github.world.runners.add(held)
    stage.ecs.may_run.set()
    await stage.ecs.wait_for(lambda: stage.ecs.tasks[0].status == "STOPPED")
    await stage.wait_for_job(job)
    story = await explain(stage, url_of(stage, job))
    assert story["cause"] is None, story
    find(story, f"the name {held.name} is taken: it takes one with a suffix")
    stage.ecs.droughts.clear()


async def play_kill(stage):
    """Play a task that has less time for its end than its agent counts on."""
    known = len(stage.ecs.tasks)
    job = stage.queue_job("build", steps=LONG)
    (step,) = job.steps
    changes = stage.github.world.changes
    assert await changes.until(lambda: step.state == "running" or None, PATIENCE)
    task = stage.ecs.tasks[known]
    task.interrupt()
    await task.process.wait_for_event("stop.requested")
    task.process.process.kill()  # as ECS does, whose stopTimeout is over now
    await stage.ecs.wait_for(lambda: task.status == "STOPPED")
    await check_cause(stage, job, "stopTimeout shorter than the budget")
    await end(stage, job)


@pytest.mark.parametrize("scenes", [(play_agents,), (play_name, play_kill)])
def test_an_agent_s_own_words_are_the_cause(aws, scenes):
    """They stand before ECS's exit code; of a killed agent its last words tell."""

    async def run():
        async with open_stage(aws, queue=True) as stage:
            stage.ecs.definitions = [ecs.TaskDefinition(log_options=LOG)]
            stage.pools.write_text(stage.pools.read_text() + 'token = "registration"\n')
            async with stage.serve():
                for scene in scenes:
                    await scene(stage)

    asyncio.run(asyncio.wait_for(run(), 400))


def test_every_cause_that_explain_names_is_played():
    """A row without a test would be a promise that nobody holds."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [title for title in TABLE if f'"{title}"' not in text] == []
