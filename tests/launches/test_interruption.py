"""Spot takes the task of a running job, with real processes."""

import asyncio

from local import launches
from local.agent import PATIENCE
from tests.launches.stage import open_stage

STEPS = [{"run": '[ "$GITHUB_RUN_ATTEMPT" -gt 1 ] || exec sleep 600'}]
"""Only the first attempt is still running when Spot takes its task."""


def test_an_interrupted_job_is_told_and_runs_again_on_demand(aws):
    """Its runner goes, GitHub runs the job again when its run has ended, and FARGATE takes it."""

    async def run():
        async with open_stage(aws, queue=True) as stage:
            stage.pools.write_text(f"{launches.POOLS}rerun_interrupted = true\n", encoding="utf-8")
            async with stage.serve() as launcher:
                await play(stage, launcher)

    async def play(stage, launcher):
        world = stage.github.world
        job = stage.queue_job("build", steps=STEPS)
        await launcher.wait_for_event("launch.served")
        (task,) = stage.ecs.tasks
        task.interrupt()
        told = await launcher.wait_for_event("task.interrupted")
        assert (told["job"], told["has_job"]) == (job.id, True)
        await world.changes.until(lambda: job.state == "completed" or None, PATIENCE)
        assert job.result == "failed"
        await launcher.wait_for_event("rerun.asked", attempt=2)
        (again,) = [each for each in world.jobs if each.attempt == 2]
        await stage.wait_for_job(again)
        await stage.check_nothing_left()
        asked = [
            request["capacityProviderStrategy"][0]["capacityProvider"]
            for request in stage.ecs.asked("RunTask", once=True)
        ]
        assert asked == ["FARGATE_SPOT", "FARGATE"]
        assert len(launcher.find_events("rerun.asked")) == 1

    asyncio.run(asyncio.wait_for(run(), 170))
