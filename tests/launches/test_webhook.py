"""A queued job becomes a running task: GitHub, webhook, queue, worker, ECS and a real agent."""

import asyncio

from tests.launches.stage import open_stage


def play(scene, aws, timeout=150, **settings):
    """Run one scene on a stage with a webhook and one worker."""

    async def run():
        async with (
            open_stage(aws, queue=True, **settings) as stage,
            stage.worker() as worker,
            stage.webhook() as webhook,
        ):
            await scene(stage, webhook, worker)

    asyncio.run(asyncio.wait_for(run(), timeout))


def test_a_queued_job_runs_and_nothing_is_left(aws):
    """From the webhook to the end of the job, by processes alone."""

    async def scene(stage, webhook, worker):
        job = stage.queue_job("self-hosted", "build")
        await stage.wait_for_job(job)
        (task,) = stage.ecs.tasks
        assert job.runner_name == f"ecs-{task.facts.id}-1"
        await stage.check_nothing_left()
        assert task.exit_code == 0
        (record,) = (await stage.find_records()).values()
        assert record["served"]
        assert len(stage.ecs.asked("RunTask")) == 1

    play(scene, aws)
