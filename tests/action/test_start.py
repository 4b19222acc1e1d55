"""The action that starts runners, end to end: its steps, a real ECS stand-in, real agents."""

import asyncio
import json

import pytest

from tests.action.jobs import inputs, make_job, queue_job, start
from tests.launches.stage import open_stage


def play(scene, timeout=150):
    """Run one scene."""
    asyncio.run(asyncio.wait_for(scene, timeout))


def test_a_job_runs_on_the_runner_that_was_started_for_it(aws):
    """It asks for the unique label alone; then nothing is left in SSM, ECS and GitHub."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            action = start(job)
            assert await action.run(**inputs()) == "success", "\n".join(job.log)
            (task,) = stage.ecs.tasks
            (runner,) = stage.github.world.runners
            labels = [label.name for label in runner.labels]
            assert labels == ["self-hosted", action.outputs["label"]]
            assert json.loads(action.outputs["runner_names"]) == [runner.name]
            assert json.loads(action.outputs["task_arns"]) == [task.arn]
            assert action.outputs["task_id"] == task.arn
            assert f"1 of 1 runners are online: {runner.name}" in "\n".join(job.log)
            queued = queue_job(stage, job.job_output(action.outputs["runs_on"]))
            await stage.wait_for_job(queued)
            await stage.check_nothing_left()

    play(scene())
