"""Tasks and machines that are ended, and those that may live on."""

import pytest
from botocore.exceptions import ClientError

from launcher import identity
from launcher.demand.order import Order
from launcher.sweep.findings import Kind, Outcome
from launcher.sweep.rules.homes import TOKEN_LEFT
from tests.storms.github import Job
from tests.unit.launcher.sweep.scene import (
    PAUSE,
    TOKENS,
    URL,
    pass_time,
    play,
    results,
    sweep_twice,
)

HOUR = 3600.0


def give_job(runner):
    """Give a runner a job."""
    runner.job = Job(1, 1, 1, runner.repository, ("small",), 60)


def stopped(scene):
    """Return the ARNs of the tasks that were asked to stop."""
    return {task.arn for task in scene.ecs.tasks.values() if task.desired == "STOPPED"}


def test_a_task_without_a_runner_is_ended_after_its_boot():
    """Its runner is removed first, then it is stopped, then its token is deleted."""

    async def story(stage):
        scene, task = stage.scene, stage.scene.add_task(age=700)
        scene.add_runner_of(task)
        scene.add_token(task.arn, age=700)
        await scene.add_launch(place=task.arn, generation=1)
        report = await sweep_twice(stage)
        assert results(report) == {(Kind.TASK, task.arn)}
        assert stopped(scene) == {task.arn}
        assert task.reason.startswith("runner-launcher sweep: no runner of it is online after")
        assert (scene.runners, scene.ssm.parameters) == ([], {})

    play(story)


@pytest.mark.parametrize("refused", [False, True])
def test_tokens_of_stopped_tasks_are_deleted_ten_with_a_call(refused):
    """A task whose token cannot be deleted is never told as removed; the next sweeps go on."""

    async def story(stage):
        scene, delete = stage.scene, stage.scene.ssm.delete_parameters
        tasks = [scene.add_task(age=10 * HOUR) for _ in range(12)]
        tokens = {scene.add_token(task.arn, age=60) for task in tasks}
        calls = []

        async def answer(**given):
            calls.append(given["Names"])
            if refused and len(calls) == 1:
                raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DeleteParameters")
            return await delete(**given)

        scene.ssm.delete_parameters = answer
        report = await sweep_twice(stage)
        assert [len(names) for names in calls] == [10, 2]
        assert stopped(scene) == {task.arn for task in tasks}
        removed, kept = report.count(Outcome.REMOVED), report.count(Outcome.KEPT)
        assert (removed, kept) == ((2, 10) if refused else (12, 0))
        left = [each for each in report.results if each.outcome is Outcome.KEPT]
        assert all(each.failed and each.detail.startswith(TOKEN_LEFT) for each in left)
        assert scene.ssm.parameters.keys() == (tokens & set(calls[0]) if refused else set())
        for task in tasks:
            scene.end_task(task)
        await pass_time(HOUR)
        await sweep_twice(stage)
        assert scene.ssm.parameters == {}

    play(story)


@pytest.mark.parametrize("pool", ["small", "gone"])
def test_a_task_has_the_boot_time_of_its_pool_or_the_setting_s(pool):
    """And five minutes more: whoever started it looks after it first."""

    async def story(stage):
        task = stage.scene.add_task(age=590)
        await stage.scene.add_launch(place=task.arn, pool=pool)
        limit = {"small": 300, "gone": 1800}[pool] + 300
        task.began -= limit - 590 - 2 * PAUSE
        assert (await sweep_twice(stage)).results == []
        await pass_time(PAUSE)
        assert results(await sweep_twice(stage)) == {(Kind.TASK, task.arn)}

    play(story)


@pytest.mark.parametrize("offline", [False, True])
def test_a_runner_with_a_job_keeps_its_task_however_old_it_is(offline):
    """Also where it is offline for a moment; nobody even tries to remove it."""

    async def story(stage):
        task = stage.scene.add_task(age=100 * HOUR)
        runner = stage.scene.add_runner_of(task, online=not offline)
        give_job(runner)
        await stage.scene.add_launch(place=task.arn)
        assert (await sweep_twice(stage)).results == []
        assert stopped(stage.scene) == set()
        assert stage.scene.github.calls["_delete_runner"] == 0

    play(story)


def test_an_idle_runner_keeps_its_task_until_the_life_of_its_pool_is_over():
    """Then it is removed before its task is stopped."""

    async def story(stage):
        task = stage.scene.add_task(age=HOUR)
        runner = stage.scene.add_runner_of(task, online=True)
        await stage.scene.add_launch(place=task.arn)
        assert (await sweep_twice(stage)).results == []
        assert stage.scene.runners == [runner.name]
        task.began -= 2 * HOUR
        assert results(await sweep_twice(stage)) == {(Kind.TASK, task.arn)}
        assert stage.scene.runners == []

    play(story)


def test_the_life_of_a_task_of_no_pool_is_what_its_agent_was_told():
    """In the variable that the launcher has set."""

    async def story(stage):
        told = [{"name": "runner", "environment": [LIFETIME]}]
        overrides = {"containerOverrides": told}
        young = stage.scene.add_task(age=HOUR, overrides=overrides)
        old = stage.scene.add_task(age=2 * HOUR, overrides=overrides)
        for task in (young, old, endless := stage.scene.add_task(age=100 * HOUR)):
            stage.scene.add_runner_of(task, online=True)
        assert results(await sweep_twice(stage)) == {(Kind.TASK, old.arn)}
        assert endless.living

    play(story)


LIFETIME = {"name": "SIDECAR_LIFETIME_LIMIT", "value": "5400"}


def test_tasks_of_others_are_not_touched():
    """Another deployment's, one of another launcher, and one in a cluster of nobody."""

    async def story(stage):
        stage.scene.add_task(deployment="other", age=100 * HOUR)
        stage.scene.add_task(tags={}, age=100 * HOUR)
        stage.scene.add_task(tags={"Name": "runner"}, age=100 * HOUR)
        stage.scene.add_task(cluster="nobody", age=100 * HOUR)
        assert (await sweep_twice(stage)).results == []
        assert stopped(stage.scene) == set()

    play(story)


@pytest.mark.parametrize("comes", ["online", "job"])
def test_a_runner_that_comes_between_two_looks_keeps_its_task(comes):
    """The last look finds it by its name, also where it was in no list."""

    async def story(stage):
        task = stage.scene.add_task(age=HOUR)
        await stage.scene.add_launch(place=task.arn)
        await stage.sweeper.sweep()
        await pass_time(PAUSE)
        find = stage.scene.github.answer

        def answer(method, url, body):
            if "name=" in url and not stage.scene.runners:
                runner = stage.scene.add_runner_of(task, online=True)
                if comes == "job":
                    give_job(runner)
            return find(method, url, body)

        stage.scene.github.answer = answer
        report = await stage.sweeper.sweep()
        why = {"online": "its runner is online", "job": "its runner has a job"}[comes]
        (result,) = report.results
        assert (result.outcome, result.detail) == (Outcome.KEPT, why)
        assert task.living

    play(story)


def test_a_task_whose_runner_cannot_be_looked_for_is_kept_and_told():
    """Its scope is another GitHub's: whether its runner has a job is not known."""

    async def story(stage):
        tags = {identity.DEPLOYMENT_TAG: "default", identity.SCOPE_TAG: "https://ghe.example.com/a"}
        task = stage.scene.add_task(tags=tags, age=100 * HOUR)
        report = await sweep_twice(stage)
        assert report.results == []
        assert [line for line in report.uncovered if line.startswith(task.arn)]

    play(story)


def test_a_task_in_a_caller_s_account_counts_as_there():
    """Nobody looks into that account: its runner is left to the API."""

    async def story(stage):
        order = Order("guest", 5, account="210987654321")
        arn = "arn:aws:ecs:eu-central-1:210987654321:task/guests/" + "9" * 32
        await stage.scene.add_launch(place=arn, order=order)
        runner = stage.scene.add_runner(f"ecs-{'9' * 32}-1")
        assert (await sweep_twice(stage)).results == []
        assert stage.scene.runners == [runner.name]

    play(story)


# --- machines -------------------------------------------------------------------------------------


def test_a_machine_without_a_runner_is_ended_and_one_that_was_stopped():
    """A machine that somebody has only stopped never runs again, and costs money."""

    async def story(stage):
        scene = stage.scene
        silent, young = scene.add_machine(age=HOUR), scene.add_machine(age=60)
        halted = scene.add_machine(age=60, state="stopped")
        foreign = scene.add_machine(age=100 * HOUR, deployment="other")
        for machine in (silent, young):
            await scene.add_launch(int(machine.id[-4:], 16), pool="machines", place=machine.id)
        report = await sweep_twice(stage)
        assert results(report) == {(Kind.MACHINE, silent.id), (Kind.MACHINE, halted.id)}
        assert silent.state == halted.state == "shutting-down"
        assert young.state == foreign.state == "running"

    play(story)


def test_the_token_and_the_runner_of_a_machine_that_has_ended_are_removed():
    """As those of a task."""

    async def story(stage):
        scene, machine = stage.scene, stage.scene.add_machine(age=HOUR)
        machine.state, machine.ended = "terminated", 0.0
        name, runner = scene.add_token(machine.id, age=600), scene.add_runner_of(machine)
        report = await sweep_twice(stage)
        assert results(report) == {(Kind.TOKEN, name), (Kind.RUNNER, runner.name)}

    play(story)


def test_machines_are_not_asked_for_where_no_pool_has_them():
    """The role may not have the right; what would need it does not count as gone."""

    async def story(stage):
        stage.scene.add_token("i-" + "0" * 17, age=600, name=f"{TOKENS}/i-{'0' * 17}")
        assert (await sweep_twice(stage)).results == []
        assert stage.scene.weather.counts["ec2:DescribeInstances"] == 0

    play(story, pools=None, scopes=(URL,))
