"""What goes wrong between a queued job and its task, with real processes (launch.md's table)."""

import asyncio
import signal

import pytest

from local import aws as stand_in
from local import ecs
from local.faults import Rule
from tests.launches.stage import open_stage

LONG = [{"run": "sleep 600"}]


def play(scene, aws, timeout=170, **settings):
    """Run one scene on a stage where one process is webhook and worker."""

    async def run():
        async with open_stage(aws, queue=True, **settings) as stage, stage.serve() as launcher:
            await scene(stage, launcher)

    asyncio.run(asyncio.wait_for(run(), timeout))


def asked(stage):
    """Return the requests of RunTask that ECS got, each once."""
    return stage.ecs.asked("RunTask", once=True)


async def wait_for_delivery(stage, job, action, count=1):
    """Wait until the webhook has taken so many deliveries about a job."""
    hooks, changes = stage.github.world.hooks, stage.github.world.changes

    def look():
        taken = [each for each in hooks.of_job(job.id, action) if each.status_code == 202]
        return taken if len(taken) >= count else None

    taken = await changes.until(look, 60)
    assert taken, [(each.action, each.status, each.answer) for each in hooks.deliveries]
    return taken


# --- deliveries ---------------------------------------------------------------------------------


def test_a_delivery_that_was_lost_starts_its_task_when_it_is_sent_again(aws):
    """GitHub does not repeat it by itself; sent again it has the same GUID."""

    async def scene(stage, launcher):
        hooks = stage.github.world.hooks
        hooks.disturb("lose", "queued")
        job = stage.queue_job("build")
        (lost,) = hooks.of_job(job.id)
        assert lost.status_code == 502
        hooks.redeliver(lost)
        await stage.wait_for_job(job)
        assert hooks.of_job(job.id, "queued")[-1].guid == lost.guid
        assert len(asked(stage)) == 1
        await stage.check_nothing_left()

    play(scene, aws)


def test_deliveries_that_come_twice_start_one_task(aws):
    """Each of them: queued, in progress, completed; and each event of ECS."""

    async def scene(stage, launcher):
        for action in ("queued", "in_progress", "completed"):
            stage.github.world.hooks.disturb("twice", action)
        stage.ecs.events.repeat = lambda _event: True
        job = stage.queue_job("build")
        await stage.wait_for_job(job)
        await wait_for_delivery(stage, job, "completed", 2)
        await stage.check_nothing_left()
        assert len(stage.ecs.tasks) == len(asked(stage)) == 1

    play(scene, aws)


def test_a_completed_that_comes_before_its_queued_starts_nothing(aws):
    """The queued one is late: by then the job was cancelled."""

    async def scene(stage, launcher):
        hooks = stage.github.world.hooks
        hooks.disturb("hold", "queued")
        job = stage.queue_job("build")
        assert stage.github.world.cancel(job)
        await wait_for_delivery(stage, job, "completed")
        assert await stage.empty_queue() == {}
        assert hooks.release() == 1
        await wait_for_delivery(stage, job, "queued")
        await stage.check_nothing_left()
        assert stage.ecs.tasks == []

    play(scene, aws)


# --- jobs that no longer want a runner ----------------------------------------------------------


def test_a_job_that_is_cancelled_while_its_task_starts_leaves_nothing(aws):
    """The runner is deleted first, then the task is stopped, then its token goes."""

    async def scene(stage, launcher):
        stage.ecs.may_run.clear()
        job = stage.queue_job("build")
        await launcher.wait_for_event("token.handed_over")
        assert stage.github.world.cancel(job)
        await stage.check_nothing_left()
        (task,) = stage.ecs.tasks
        assert (task.stop_code, task.process) == ("UserInitiated", None)
        assert [each.by for each in stage.github.world.runners.removed] == ["rest"]

    play(scene, aws)


def test_a_job_that_took_another_one_s_runner_gets_that_one_a_new_task(aws):
    """Its own delivery was lost, so nobody has started a task for it: the deficit is started."""

    async def scene(stage, launcher):
        hooks = stage.github.world.hooks
        hooks.disturb("lose", "queued")
        thief = stage.queue_job("build", name="thief")
        job = stage.queue_job("build", name="robbed")
        await stage.wait_for_job(thief)
        await stage.wait_for_job(job)
        await stage.check_nothing_left()
        assert len(stage.ecs.tasks) == 2
        assert {thief.runner_name, job.runner_name} == {
            f"ecs-{task.facts.id}-1" for task in stage.ecs.tasks
        }

    play(scene, aws)


def test_two_jobs_with_equal_labels_share_two_tasks(aws):
    """GitHub gives either runner either job: that is a swap, and nothing more is started."""

    async def scene(stage, launcher):
        stage.ecs.may_run.clear()
        jobs = [stage.queue_job("build", name=name) for name in ("first", "second")]
        await launcher.wait_for_event("token.handed_over", count=2)
        by_launch = {each["launch"]: each["task"] for each in launcher.find_events("task.placed")}
        assert len(by_launch) == 2
        stage.ecs.may_run.set()
        for job in jobs:
            await stage.wait_for_job(job)
        await stage.check_nothing_left()
        assert len(stage.ecs.tasks) == 2

    play(scene, aws)


# --- tasks that come to nothing -----------------------------------------------------------------


def test_a_task_that_cannot_start_has_a_successor(aws):
    """Its image cannot be pulled: the reason is said, and the next task runs the job."""

    async def scene(stage, launcher):
        stage.ecs.failing_starts = [ecs.CANNOT_PULL]
        job = stage.queue_job("build")
        await stage.wait_for_job(job)
        failed = launcher.last_event("task.failed")
        assert ecs.CANNOT_PULL in failed["reason"], launcher.transcript()
        assert len(stage.ecs.tasks) == 2
        await stage.check_nothing_left()

    play(scene, aws)


def test_three_tasks_that_cannot_start_are_enough(aws):
    """The launch is given up loudly, with the last reason; the job stays queued at GitHub."""

    async def scene(stage, launcher):
        stage.ecs.failing_starts = [ecs.CANNOT_PULL] * 9
        job = stage.queue_job("build")
        given_up = await launcher.wait_for_event("launch.given_up")
        assert ecs.CANNOT_PULL in given_up["reason"]
        assert given_up["job"] == job.id
        assert len(stage.ecs.tasks) == 3
        await stage.check_nothing_left()
        assert job.state == "queued"

    play(scene, aws)


def test_no_capacity_is_waited_out(aws):
    """Each provider in turn, then a new round later, with tokens of its own."""

    async def scene(stage, launcher):
        stage.ecs.droughts = [ecs.Drought(times=2)]
        job = stage.queue_job("build")
        delayed = await launcher.wait_for_event("task.delayed", why="capacity")
        assert ecs.NO_CAPACITY in delayed["reason"]
        stand_in.end_delays(aws)
        await stage.wait_for_job(job)
        requests = asked(stage)
        providers = [each["capacityProviderStrategy"][0]["capacityProvider"] for each in requests]
        assert providers == ["FARGATE_SPOT", "FARGATE", "FARGATE_SPOT"]
        assert len({each["clientToken"] for each in requests}) == 3
        await stage.check_nothing_left()

    play(scene, aws)


# --- a worker that dies -------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["RunTask", "PutParameter"])
def test_a_second_worker_takes_over_what_a_killed_one_has_begun(aws, lost):
    """Killed before RunTask's answer, or before the token is written: one task, one runner."""

    async def run():
        async with open_stage(aws, queue=True) as stage, stage.webhook():
            proxy = stage.front if lost == "RunTask" else stage.ssm
            async with stage.worker() as first:
                (lost_answer,) = proxy.add(Rule("hang", target=lost, forward=True, times=1))
                job = stage.queue_job("build")
                # Not as soon as it is called: with the caller goes a call that was not passed on.
                await proxy.happened(lost_answer)
                await stage.ecs.wait_for(lambda: stage.ecs.tasks)
                first.signal(signal.SIGKILL)
                await first.wait_for_end()
            async with stage.worker():
                stand_in.end_leases(aws)
                stand_in.end_visibility(aws)
                await stage.wait_for_job(job)
                await stage.check_nothing_left()
            assert len(stage.ecs.tasks) == 1
            (task,) = stage.ecs.tasks
            assert job.runner_name.startswith(f"ecs-{task.facts.id}-")

    asyncio.run(asyncio.wait_for(run(), 170))
