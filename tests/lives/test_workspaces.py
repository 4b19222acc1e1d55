"""Check the job's folder where a daemon in another container uses it, too."""

import os

import pytest

from tests.lives.stage import IS_ROOT, open_stage, run_side_by_side


@pytest.mark.parametrize("stopped", [False, True])
def test_a_folder_of_this_life_alone(aws, stopped):
    """SIDECAR_WORK_DIR with {name} is made for the runner's user, and removed after the life."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            shared = stage.folder / "shared"
            env = {"SIDECAR_WORK_DIR": f"{shared}/{{name}}", "SIDECAR_NAME": "one"}
            async with stage.life(env=env) as life:
                if stopped:
                    await life.wait_for_phase("idle")
                    assert (shared / "one").is_dir()
                    life.signal()
                else:
                    job = stage.job("pwd; touch mine")
                await stage.check_end(life, 0)
            assert list(shared.iterdir()) == []
            assert life.find_events("life.ended")[0]["undone"]["workspace"] == "done"
            assert stopped or f"{shared}/one/" in job.log()

    run_side_by_side(play())


def test_a_volume_of_root_is_given_to_the_runner(aws):
    """Docker's volumes belong to root at first; the folder stays after the life."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            volume = stage.runner_folder / "_work"
            volume.mkdir(mode=0o755)
            job = stage.job("touch mine")
            async with stage.life() as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert volume.is_dir()
            assert (volume.stat().st_uid == 0) != IS_ROOT

    run_side_by_side(play())


@pytest.mark.root
def test_a_folder_of_somebody_else(aws):
    """Exit 15 before anything is registered: no job comes that could only fail."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            volume = stage.folder / "volume"
            volume.mkdir(mode=0o755)
            os.chown(volume, 12345, 12345)
            async with stage.life(env={"SIDECAR_WORK_DIR": str(volume)}) as life:
                await stage.check_end(life, 15)
            assert f"cannot write into {volume}" in life.find_events("life.failed")[0]["reason"]
            assert not stage.world.calls

    run_side_by_side(play())


def test_a_folder_that_cannot_be_made(aws):
    """Exit 15 before anything is registered; the reason names the setting."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            (stage.folder / "file").touch()
            async with stage.life(env={"SIDECAR_WORK_DIR": f"{stage.folder}/file/x"}) as life:
                await stage.check_end(life, 15)
            assert "SIDECAR_WORK_DIR" in life.find_events("life.failed")[0]["reason"]
            assert not stage.world.calls

    run_side_by_side(play())
