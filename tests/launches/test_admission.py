"""A stranger's job never runs in the task that was started for an approved one."""

import asyncio

from tests.launches.stage import POOLS, open_stage

STRANGER = {
    "event": "pull_request",
    "pull_request": 7,
    "head_repository": "mallory/repo",
    "actor": "mallory",
    "steps": [{"run": 'echo "in"side'}, {"run": 'echo "in"side', "if": "always()"}],
}
OPEN, CLOSED = "[pool.access]\nforks = true\n", "[pool.access]\nforks = false\n"


def play(scene, aws, access):
    """Run one scene with this access table: webhook and worker in one process."""

    async def run():
        async with open_stage(aws, queue=True) as stage:
            stage.pools.write_text(POOLS + access, encoding="utf-8")
            async with stage.serve() as launcher:
                await scene(stage, launcher)

    asyncio.run(asyncio.wait_for(run(), 150))


def test_a_stranger_who_queued_first_never_runs_in_an_approved_job_s_task(aws):
    """No task is started for him. He gets the approved job's runner, and is failed in it.

    The approved job then gets a task of its own, and nothing is left.
    """

    async def scene(stage, _):
        stranger = stage.queue_job("build", **STRANGER)
        approved = stage.queue_job("build")
        await stage.wait_for_job(stranger, "failed")
        await stage.wait_for_job(approved)
        assert stranger.runner_name != approved.runner_name != ""
        assert "inside" not in stranger.log().replace(STRANGER["steps"][0]["run"], "")
        assert "its commit comes from mallory/repo" in stranger.log()
        await stage.check_nothing_left()
        assert sorted(task.exit_code for task in stage.ecs.tasks) == [0, 25]

    play(scene, aws, CLOSED)


def test_without_the_policy_the_stranger_runs(aws):
    """The attack works on a pool that admits forks: his steps run in the task."""

    async def scene(stage, _):
        stranger = stage.queue_job("build", **STRANGER)
        await stage.wait_for_job(stranger)
        assert "inside" in stranger.log().replace(STRANGER["steps"][0]["run"], "")
        await stage.check_nothing_left()

    play(scene, aws, OPEN)
