"""The job's folder where a daemon in another container looks for it too."""

import pytest

from tests.lives.stage import IS_ROOT, played, staged


@pytest.mark.parametrize("stopped", [False, True])
def test_a_folder_of_this_life_alone(aws, stopped):
    """SIDECAR_WORK_DIR with {name}: made for the runner's user, gone with the life."""

    async def play():
        async with staged(aws) as stage:
            await stage.put()
            shared = stage.folder / "shared"
            env = {"SIDECAR_WORK_DIR": f"{shared}/{{name}}", "SIDECAR_NAME": "one"}
            async with stage.life(env=env) as life:
                if stopped:
                    await life.phase("idle")
                    assert (shared / "one").is_dir()
                    life.signal()
                else:
                    job = stage.job("pwd; touch mine")
                await stage.settled(life, 0)
            assert list(shared.iterdir()) == []
            assert life.all("life.ended")[0]["undone"]["workspace"] == "done"
            assert stopped or f"{shared}/one/" in job.log()

    played(play())


def test_a_volume_that_is_root_s_becomes_the_runner_s(aws):
    """Docker's volumes begin as root's; the folder itself stays, since it is not ours."""

    async def play():
        async with staged(aws) as stage:
            await stage.put()
            volume = stage.root / "_work"
            volume.mkdir(mode=0o755)
            job = stage.job("touch mine")
            async with stage.life() as life:
                await stage.settled(life, 0)
            assert job.result == "succeeded"
            assert volume.is_dir()
            assert (volume.stat().st_uid == 0) != IS_ROOT

    played(play())


def test_a_folder_that_cannot_be_made(aws):
    """Exit 15 before anything is registered; the reason names the setting."""

    async def play():
        async with staged(aws) as stage:
            await stage.put()
            (stage.folder / "file").touch()
            async with stage.life(env={"SIDECAR_WORK_DIR": f"{stage.folder}/file/x"}) as life:
                await stage.settled(life, 15)
            assert "SIDECAR_WORK_DIR" in life.all("life.failed")[0]["reason"]
            assert not stage.world.calls

    played(play())
