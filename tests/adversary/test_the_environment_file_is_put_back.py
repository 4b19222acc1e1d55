"""Hold: what a job writes into the runner's `.env` and `.path` does not outlive its life."""

from __future__ import annotations

import pytest

from tests.adversary.attackers import NOT_PUT_BACK, start_agent
from tests.lives.stage import IS_ROOT, open_stage, run_side_by_side

SAME_USER = {"SIDECAR_RUNNER_USER": "root" if IS_ROOT else None}
"""A job with the agent's own user can write both files."""


@pytest.mark.parametrize("stopped", [False, True], ids=["ended", "stopped"])
def test_both_files_are_as_before_after_every_end(aws, stopped):
    """One that was there, and one that was not; unmended, both hold the job's variables."""

    async def play(argv, kept):
        async with open_stage(aws) as stage:
            root = stage.runner_folder
            (root / ".env").write_text("OWN=1\n")
            await stage.put()
            stage.misbehave(time_scale=0.1)  # its job is cancelled in a second, long before the end
            job = stage.job(
                f"echo PLANTED=1 >>{root}/.env; echo /planted >{root}/.path; echo pla''nted",
                *(["sleep 600"] if stopped else []),
            )
            async with stage.life(argv, env={**SAME_USER, "SIDECAR_STOP_TIMEOUT": "25"}) as life:
                if stopped:
                    await stage.wait_for_output(job, "planted")
                    life.signal()
                await stage.check_end(life, 22 if stopped else 0)
            assert ("PLANTED=1" in (root / ".env").read_text()) is not kept, "the attack"
            assert (root / ".env").read_text().startswith("OWN=1\n")
            assert (root / ".path").exists() is not kept

    run_side_by_side(play(start_agent(NOT_PUT_BACK), False), play(start_agent(), True))
