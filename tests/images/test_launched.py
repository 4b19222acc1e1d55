"""Run the image in the place of a launcher's own image: nothing else changes."""

import pytest

from tests.images.containers import run_container
from tests.lives.test_launchers import (
    COMMAND,
    OURS,
    cdk,
    fargate,
    mint_token_for,
    myoung34,
    override_api,
    passeidireto,
)

pytestmark = [pytest.mark.docker, pytest.mark.root]


def test_only_the_image_changes(lives):
    """With the launcher's variables alone a job runs as the user `runner`; nothing is left."""

    def make_life(launcher, **named):
        async def life(stage, engine):
            if launcher is fargate:
                await stage.put(mint_token_for(stage, "/repos/octo/repo"))
            given = [] if launcher is passeidireto else [stage]
            env = override_api(stage) | launcher(*given, **named)
            job = stage.job("id -un")
            async with run_container(stage, engine, env=env) as container:
                await stage.check_end(container.life, 0)
            assert job.result == "succeeded"
            assert "runner\n" in job.log()
            (event,) = container.life.find_events("launcher.recognised")
            assert event["contract"] == launcher.__name__

        return life

    lives(
        make_life(fargate, whole=False),
        make_life(passeidireto, repository="repo"),
        make_life(myoung34),
        make_life(cdk),
    )


def test_cdk_s_command_registers_by_itself(lives):
    """The command runs as the user of the launcher's own image; its last line is kept."""

    async def life(stage, engine):
        job = stage.job("id -un", labels=["ecs"])
        env = OURS | cdk(stage) | {"WHERE": "/home/runner"}
        command = ("sh", "-c", COMMAND)
        async with run_container(stage, engine, env=env, command=command) as container:
            assert await container.life.wait_for_end() == 0
        assert "CDKGHA JOB DONE ecs,linux 1\n" in container.life.text
        assert job.result == "succeeded"
        assert "runner\n" in job.log()

    lives(life)
