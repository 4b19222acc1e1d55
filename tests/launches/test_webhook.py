"""A queued job becomes a running task: GitHub, webhook, queue, worker, ECS and a real agent."""

import asyncio

from tests.launches.stage import open_stage


def play(scene, aws, timeout=150, prepare=None, **settings):
    """Run one scene on a stage with a webhook and one worker."""

    async def run():
        async with open_stage(aws, queue=True, **settings) as stage:
            if prepare:
                prepare(stage)
            async with stage.serve() as launcher:
                await scene(stage, launcher)

    asyncio.run(asyncio.wait_for(run(), timeout))


def test_a_queued_job_runs_and_nothing_is_left(aws):
    """From the webhook to the end of the job, by three programs alone."""

    async def run():
        async with open_stage(aws, queue=True) as stage, stage.worker(), stage.webhook():
            job = stage.queue_job("self-hosted", "build")
            await stage.wait_for_job(job)
            (task,) = stage.ecs.tasks
            assert job.runner_name == f"ecs-{task.facts.id}-1"
            await stage.check_nothing_left()
            assert task.exit_code == 0
            (record,) = (await stage.find_records()).values()
            assert record["served"]
            assert len(stage.ecs.asked("RunTask", once=True)) == 1

    asyncio.run(asyncio.wait_for(run(), 150))


def test_an_app_s_installation_tells_of_the_job_and_registers_its_runner(aws):
    """The webhook is the App's, and its token is good for nothing but its permissions."""

    def install(stage):
        app, key = stage.add_app()
        stage.credential = {"github_app_id": str(app.id), "github_app_key": key}

    async def scene(stage, launcher):
        job = stage.queue_job("build")
        await stage.wait_for_job(job)
        await stage.check_nothing_left()
        (installation,) = next(iter(stage.github.world.apps)).installations
        # More than one, where the queue has answered late.
        sent = stage.github.world.hooks.of_job(job.id, "queued")
        assert {delivery.installation_id for delivery in sent} == {installation.id}
        assert stage.github.world.calls["access-token"] >= 1

    play(scene, aws, prepare=install)


def test_a_job_that_waits_for_an_approval_has_its_task_when_it_is_approved(aws):
    """Before that GitHub says `queued` and `waiting`; run again, it is another job with a task."""

    async def scene(stage, launcher):
        job = stage.queue_job("build", environment="production")
        assert await stage.empty_queue() == {}
        assert stage.ecs.tasks == []
        stage.github.world.approve(job)
        await stage.wait_for_job(job)
        assert len(stage.ecs.tasks) == 1
        (again,) = stage.github.world.jobs.run_again([job], stage.github.world.now())
        await stage.wait_for_job(again)
        assert (again.run.id, again.attempt) == (job.run.id, 2)
        await stage.check_nothing_left()
        assert len(stage.ecs.tasks) == 2

    play(scene, aws)


def test_what_is_not_ours_starts_nothing(aws):
    """Labels of others and of no pool, and a delivery that somebody else has signed."""

    async def scene(stage, launcher):
        stage.queue_job("ubuntu-latest")
        stage.queue_job("self-hosted", "gpu")
        await stage.wait_for_answers()  # what is sent again is signed anew
        for hook in stage.github.world.hooks:
            hook.secret = "not the secret that was agreed"
        forged = stage.queue_job("build")
        await stage.wait_for_answers()
        (delivery,) = stage.github.world.hooks.of_job(forged.id)
        assert delivery.status_code == 401
        assert await stage.empty_queue() == {}
        assert stage.ecs.tasks == []
        unserved = launcher.last_event("demand.unserved")
        assert unserved["nearest"] == "build", launcher.transcript()

    play(scene, aws)
