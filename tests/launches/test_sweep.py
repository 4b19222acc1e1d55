"""The sweep ends what is ours and nobody needs, after two looks, and touches nothing else."""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from local import aws as stand_in
from local.agent import PATIENCE
from local.github.runners import Runner
from local.github.scope import Scope
from tests.launches.mutated import FAULTS
from tests.launches.stage import PREFIX, REPOSITORY, open_stage

DEPLOYMENT = "runner-launcher:deployment"
START = ("start", "--labels", "build", "--wait", "none")
DAY = 86_400.0


def play(scene, aws, timeout=600, **settings):
    """Run one scene on a stage; the machine may be busy."""

    async def run():
        async with open_stage(aws, **settings) as stage:
            await scene(stage)

    asyncio.run(asyncio.wait_for(run(), timeout))


# --- what is planted ------------------------------------------------------------------------------


@dataclass
class Planted:
    """All that was left or planted: orphans, things of others, and a job that runs."""

    orphans: list[str] = field(default_factory=list)
    """The names of what has to go: parameters, runners, tasks."""
    parameters: list[str] = field(default_factory=list)
    """Those of others."""
    runners: list[str] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)
    busy: Any = None
    """The job that runs."""
    working: Any = None
    """Its task."""


def add_runner(stage, name):
    """Register a runner that is offline."""
    runners = stage.github.world.runners
    own = runners.labels(["build"], "custom")
    scope = Scope.of_path(f"/repos/{REPOSITORY}")
    return runners.add(Runner(0, name, scope, own, True, 0.0, ""))


def list_names(stage):
    """List the names of all runners."""
    return sorted(each.name for each in stage.github.world.runners)


def runner_of(task):
    """Return the name of a task's runner."""
    return f"ecs-{task.facts.id}-1"


def token_of(task):
    """Return the name of a task's token."""
    return f"{PREFIX}/{task.facts.id}"


async def run_a_job(stage, planted):
    """Let a task run a job for as long as the test wants; it is older than its life may be."""
    changes, go = stage.github.world.changes, stage.folder / "go"
    wait = {"run": f"until [ -e {go} ]; do sleep 0.1; done"}
    planted.busy = stage.queue_job("build", steps=[wait])
    assert await changes.until(lambda: planted.busy.state == "running" or None, PATIENCE)
    (planted.working,) = stage.ecs.tasks
    planted.working.request["overrides"]["containerOverrides"][0]["environment"] += [
        {"name": "SIDECAR_LIFETIME_LIMIT", "value": "3600"}
    ]


async def leave_behind(stage, planted):
    """Leave a task that never starts; and the token and the runner of one that was stopped."""
    stage.ecs.may_run.clear()
    for _ in range(2):
        assert (await stage.run(*START))[0] == 0
    stuck, gone = stage.ecs.tasks[-2:]
    gone.stop("UserInitiated", "by somebody else")
    await stage.ecs.wait_for(lambda: gone.status == "STOPPED")
    planted.orphans += [stuck.arn, runner_of(gone), token_of(gone)]


async def plant_foreign(stage, aws, planted):
    """Plant what others own: a task with all that belongs to it, parameters, runners."""
    assert (await stage.run(*START, deployment="other"))[0] == 0
    planted.tasks = [stage.ecs.tasks[-1]]
    theirs = f"{PREFIX}/{'f' * 32}"
    stand_in.put(aws, theirs, "another deployment's, whose task is gone")
    stand_in.tag(aws, theirs, **{DEPLOYMENT: "other"})
    stand_in.put(aws, f"{PREFIX}/{'e' * 32}", "without a tag")
    stand_in.put(aws, f"/elsewhere/{'d' * 32}", "of our deployment, not below our path")
    stand_in.tag(aws, f"/elsewhere/{'d' * 32}", **{DEPLOYMENT: "default"})
    for name in (f"ecs-{'f' * 32}-1", "ecs-buildhost-1", "mac-mini"):
        add_runner(stage, name)
    planted.parameters = [theirs, f"{PREFIX}/{'e' * 32}", f"/elsewhere/{'d' * 32}"]
    planted.parameters += map(token_of, planted.tasks)
    planted.runners = [f"ecs-{'f' * 32}-1", "ecs-buildhost-1", "mac-mini"]
    planted.runners += map(runner_of, planted.tasks)


async def plant(stage, aws, *, worker=False):
    """Plant everything; time passes for all of it."""
    planted = Planted()
    if worker:
        async with stage.serve():
            await run_a_job(stage, planted)
    else:
        assert (await stage.run("start", "--labels", "build"))[0] == 0
        await run_a_job(stage, planted)
    await leave_behind(stage, planted)
    await plant_foreign(stage, aws, planted)
    for task in stage.ecs.tasks:
        task.created_at -= DAY
    stand_in.age_parameters(aws, 600)
    return planted


# --- what is judged -------------------------------------------------------------------------------


def find_wrongs(stage, aws, planted, sweep):
    """Return what is wrong after a sweep."""
    removed = [each["name"] for each in sweep.find_events("orphan.removed")]
    first = sweep.find_events("sweep.done")[0]
    parameters, runners = stand_in.names(aws), list_names(stage)
    own, busy = planted.working, f"/actions/runners/{planted.busy.runner_id}"
    log = stage.github.world.log
    wrong = {
        f"these are removed: {removed}": sorted(removed) != sorted(planted.orphans),
        "something ends at the first look": first["removed"] > 0,
        f"these parameters are there: {parameters}": parameters != sorted(planted.parameters),
        f"these runners are there: {runners}": runners
        != sorted([*planted.runners, runner_of(own)]),
        "a task of another deployment is stopped": any(
            task.desired != "RUNNING" for task in planted.tasks
        ),
        "a task whose runner has a job is stopped": own.desired != "RUNNING",
        f"the job is {planted.busy.state}": planted.busy.state != "running",
        # A runner with a job is left in peace: GitHub need not refuse anything.
        "somebody tries to remove a runner that has a job": any(
            call.method == "DELETE" and call.path.endswith(busy) for call in log
        ),
    }
    return [what for what, is_so in wrong.items() if is_so]


def test_orphans_of_the_command_line_are_ended_and_nothing_else(aws):
    """Once, without a table: two looks with a pause. The job that runs goes on to its end."""

    async def scene(stage):
        planted = await plant(stage, aws)
        code, sweep = await stage.run_sweep("--pause", "1")
        assert code == 0, sweep.transcript()
        assert find_wrongs(stage, aws, planted, sweep) == [], sweep.transcript()
        (stage.folder / "go").touch()
        await stage.wait_for_job(planted.busy)

    play(scene, aws)


def test_orphans_of_a_worker_are_ended_and_nothing_else(aws):
    """With its table and pools; what a first look has found is remembered in the table."""

    async def scene(stage):
        planted = await plant(stage, aws, worker=True)
        given = {"table": "launches", "pools": str(stage.pools), "github_url": stage.github.url}
        code, trial = await stage.run_sweep("--dry-run", "--pause", "1", **given)
        assert (code, trial.find_events("orphan.removed")) == (0, []), trial.transcript()
        assert len(trial.find_events("orphan.skipped")) == len(planted.orphans)
        code, sweep = await stage.run_sweep("--pause", "1", **given)
        assert code == 0, sweep.transcript()
        assert find_wrongs(stage, aws, planted, sweep) == [], sweep.transcript()
        (stage.folder / "go").touch()
        await stage.wait_for_job(planted.busy)

    play(scene, aws, queue=True)


SHOWN = {
    "one look only": "something ends at the first look",
    "busy is not looked at": "somebody tries to remove a runner that has a job",
    "foreign is taken": "a task of another deployment is stopped",
}
"""The verdict that shows each fault."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_sweep_shows_itself(aws, fault):
    """Each of the promises is looked at: whoever breaks one makes the tests above fail."""

    async def scene(stage):
        planted = await plant(stage, aws)
        stage.command = (sys.executable, "-m", "tests.launches.mutated", fault)
        _, sweep = await stage.run_sweep("--pause", "1")
        assert SHOWN[fault] in find_wrongs(stage, aws, planted, sweep), sweep.transcript()

    play(scene, aws)


def test_a_service_sweeps_again_and_again_until_it_is_stopped(aws):
    """Its second sweep ends what the first has found; SIGTERM ends it in good order."""

    async def scene(stage):
        planted = Planted()
        await leave_behind(stage, planted)
        stand_in.age_parameters(aws, 600)
        for task in stage.ecs.tasks:
            task.created_at -= DAY
        async with stage.sweep("--every", "2s", "--pause", "1") as sweep:
            # Mostly by one sweep: what AWS or GitHub answers too late is removed by the next one.
            await sweep.wait_for_event("orphan.removed", count=3)
            await sweep.wait_for_event("sweep.done", found=0, removed=0)
            sweep.signal(15)
            assert await sweep.wait_for_end() == 0
        assert sweep.find_events("service.stop_requested")
        assert (list_names(stage), await stage.find_parameters()) == ([], [])

    play(scene, aws)
