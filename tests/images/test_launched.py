"""The image in the place of a launcher's own: nothing else changes."""

import pytest

from tests.images.containers import contained
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


def test_the_image_is_all_that_changes(lives):
    """With the launcher's variables alone a job runs, as `runner`; and nothing is left."""

    def told(launcher, **named):
        async def life(stage, engine):
            if launcher is fargate:
                await stage.put(mint_token_for(stage, "/repos/octo/repo"))
            env = override_api(stage) | launcher(*([] if launcher is passeidireto else [stage]), **named)
            job = stage.job("id -un")
            async with contained(stage, engine, env=env) as container:
                await stage.check_end(container.life, 0)
            assert job.result == "succeeded"
            assert "runner\n" in job.log()
            (event,) = container.life.find_events("launcher.recognised")
            assert event["contract"] == launcher.__name__

        return life

    lives(
        told(fargate, whole=False),
        told(passeidireto, repository="repo"),
        told(myoung34),
        told(cdk),
    )


def test_cdk_s_command_registers_by_itself(lives):
    """As the user that it has in the launcher's own image; its last line comes out."""

    async def life(stage, engine):
        job = stage.job("id -un", labels=["ecs"])
        env = OURS | cdk(stage) | {"WHERE": "/home/runner"}
        command = ("sh", "-c", COMMAND)
        async with contained(stage, engine, env=env, command=command) as container:
            assert await container.life.wait_for_end() == 0
        assert "CDKGHA JOB DONE ecs,linux 1\n" in container.life.text
        assert job.result == "succeeded"
        assert "runner\n" in job.log()

    lives(life)
