"""The sweep ends what is ours and nobody needs, after two looks, and touches nothing else."""

import asyncio

from local import aws as stand_in
from local.agent import PATIENCE
from local.github.runners import Runner
from local.github.scope import Scope
from tests.launches.stage import PREFIX, REPOSITORY, open_stage

DEPLOYMENT = "runner-launcher:deployment"
ORPHAN = "0" * 31 + "1"
LABELS = ("start", "--labels", "build", "--wait", "none")


def play(scene, aws, timeout=170, **settings):
    """Run one scene on a stage."""

    async def run():
        async with open_stage(aws, **settings) as stage:
            await scene(stage)

    asyncio.run(asyncio.wait_for(run(), timeout))


def add_runner(stage, name, scope=f"/repos/{REPOSITORY}", labels=("build",)):
    """Register a runner that is offline."""
    runners = stage.github.world.runners
    own = runners.labels(labels, "custom")
    return runners.add(Runner(0, name, Scope.of_path(scope), own, True, 0.0, ""))


def list_names(stage):
    """List the names of all runners."""
    return sorted(each.name for each in stage.github.world.runners)


async def leave_behind(stage):
    """Start a task whose token nobody reads, and let it end: its token and runner are left."""
    stage.ecs.may_run.clear()
    code, _ = await stage.run(*LABELS)
    assert code == 0
    task = stage.ecs.tasks[-1]
    task.stop("UserInitiated", "by somebody else")
    await stage.ecs.wait_for(lambda: task.status == "STOPPED")
    stand_in.age_parameters(stage.moto, 600)
    return task


def plant_foreign(stage, aws):
    """Plant parameters and runners that others own; return what must be left."""
    task = "f" * 32
    stand_in.put(aws, f"{PREFIX}/{task}", "another deployment's")
    stand_in.tag(aws, f"{PREFIX}/{task}", **{DEPLOYMENT: "other"})
    stand_in.put(aws, f"{PREFIX}/{'e' * 32}", "without a tag")
    stand_in.put(aws, f"/elsewhere/{'d' * 32}", "of our deployment, not below our path")
    stand_in.tag(aws, f"/elsewhere/{'d' * 32}", **{DEPLOYMENT: "default"})
    stand_in.age_parameters(aws, 86_400)
    add_runner(stage, f"ecs-{task}-1")
    add_runner(stage, "ecs-buildhost-1")
    add_runner(stage, "mac-mini")
    parameters = [f"{PREFIX}/{task}", f"{PREFIX}/{'e' * 32}", f"/elsewhere/{'d' * 32}"]
    return sorted(parameters), list_names(stage)


def test_a_token_and_a_runner_whose_task_is_gone_are_removed_and_nothing_foreign(aws):
    """Once, without a table: two looks with a pause."""

    async def scene(stage):
        parameters, runners = plant_foreign(stage, aws)
        task = await leave_behind(stage)
        name = f"ecs-{task.facts.id}-1"
        assert name in list_names(stage)
        code, sweep = await stage.run_sweep("--pause", "1")
        assert code == 0, sweep.transcript()
        assert list_names(stage) == runners, sweep.transcript()
        assert sorted(stand_in.names(aws)) == parameters
        removed = sweep.find_events("orphan.removed")
        assert sorted(each["name"] for each in removed) == sorted(
            [name, f"{PREFIX}/{task.facts.id}"]
        )
        first, last = sweep.find_events("sweep.done")
        assert (first["found"], first["removed"]) == (2, 0)
        assert (last["found"], last["removed"], last["left_out"]) == (0, 2, 0)

    play(scene, aws)


def test_a_task_without_a_runner_is_ended_and_one_with_a_job_is_kept(aws):
    """With a table and pools: what never started goes after its boot; a job may take its time."""

    async def scene(stage):
        changes, go = stage.github.world.changes, stage.folder / "go"
        async with stage.serve() as launcher:
            wait = {"run": f"until [ -e {go} ]; do sleep 0.1; done"}
            busy = stage.queue_job("build", steps=[wait])
            assert await changes.until(lambda: busy.state == "running" or None, PATIENCE)
            stage.ecs.may_run.clear()
            waiting = stage.queue_job("build", name="waits")
            await launcher.wait_for_event("token.handed_over", count=2)
        working, stuck = stage.ecs.tasks
        assert (await stage.run(*LABELS, deployment="other"))[0] == 0
        foreign = stage.ecs.tasks[-1]
        for task in stage.ecs.tasks:
            task.created_at -= 86_400
        code, sweep = await stage.run_sweep(
            "--pause", "1", table="launches", pools=str(stage.pools), github_url=stage.github.url
        )
        assert code == 0, sweep.transcript()
        ended = sweep.find_events("orphan.removed", kind="task")
        assert [each["name"] for each in ended] == [stuck.arn], sweep.transcript()
        desired = [each.desired for each in (working, stuck, foreign)]
        assert desired == ["RUNNING", "STOPPED", "RUNNING"]
        # Nobody has even tried to remove the runner that has a job.
        assert stage.github.world.calls["delete-runner"] == 1
        assert list_names(stage) == sorted(f"ecs-{each.facts.id}-1" for each in (working, foreign))
        assert await stage.find_parameters() == [f"{PREFIX}/{foreign.facts.id}"]
        go.touch()
        await stage.wait_for_job(busy)
        assert waiting.state == "queued"

    play(scene, aws, queue=True)
