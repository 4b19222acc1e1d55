"""The image as a container's first program, on a real engine: whole lives, and every way to end."""

import pytest

from tests.images.containers import contained
from tests.lives.stage import played, staged

pytestmark = [pytest.mark.docker, pytest.mark.root]


def play(place, *plays):
    """Play lives side by side in the task, each on a stage of its own."""

    async def one(run):
        async with staged(place.task.aws) as stage:
            await run(stage, place.engine)

    place.task.space.call(lambda: played(*map(one, plays)))


def test_a_life_runs_its_job_and_leaves_nothing(images):
    """Token, runner, job, clean-up by the image alone; the exit code is the container's."""

    async def life(stage, engine):
        await stage.put()
        job = stage.job("id -un; pwd; echo home $HOME")
        async with contained(stage, engine) as container:
            await stage.settled(container.life, 0)
            assert await container.inspected("{{.State.ExitCode}}") == "0"
        assert job.result == "succeeded"
        assert "runner\n" in job.log()

    play(images, life)
