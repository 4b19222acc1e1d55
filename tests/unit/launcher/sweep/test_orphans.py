"""Tell orphans from what is needed, and look twice."""

import pytest

from launcher.sweep.findings import Kind, Outcome
from sidecar.aws.calls import AccessDenied
from tests.storms.github import Job
from tests.unit.launcher.sweep.scene import (
    PAUSE,
    POOLS,
    TOKENS,
    pass_time,
    play,
    results,
    sweep_twice,
)

OLD = 86_400.0
OTHER = "arn:aws:ecs:eu-central-1:123456789012:task/old"
ARN = "arn:aws:ecs:eu-central-1:123456789012:task/runners"


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_whose_task_is_gone_is_deleted_at_the_second_look():
    """And not at the first one, nor at a second one that comes too soon."""

    async def story(stage):
        name = stage.scene.add_token(f"{ARN}/{'1' * 32}", age=600)
        for _ in range(2):
            report = await stage.sweeper.sweep()
            assert results(report, Outcome.FOUND) == {(Kind.TOKEN, name)}
        await pass_time(PAUSE)
        report = await stage.sweeper.sweep()
        assert results(report) == {(Kind.TOKEN, name)}
        assert stage.scene.ssm.parameters == {}
        report = await stage.sweeper.sweep()
        assert (report.results, report.uncovered) == ([], [])

    play(story)


@pytest.mark.parametrize("state", ["living", "just started", "in another cluster"])
def test_a_token_that_is_waited_for_stays(state):
    """Its task lives, or AWS may not list it yet; its cluster is known by the token alone."""

    async def story(stage):
        if state == "just started":
            stage.scene.add_token(f"{ARN}/{'1' * 32}", age=10)
            report = await stage.sweeper.sweep()
        else:
            cluster = "elsewhere" if state == "in another cluster" else "runners"
            task = stage.scene.add_task(cluster=cluster)
            stage.scene.add_token(task.arn, age=600)
            report = await sweep_twice(stage)
        assert report.results == []

    play(story)


def test_a_token_that_was_renewed_between_two_looks_is_seen_anew():
    """Somebody who has written it again needs it: the second look is a first one."""

    async def story(stage):
        place = f"{ARN}/{'1' * 32}"
        name = stage.scene.add_token(place, age=600)
        await stage.sweeper.sweep()
        await pass_time(PAUSE)
        stage.scene.ssm.parameters[name].version += 1
        report = await stage.sweeper.sweep()
        assert results(report, Outcome.FOUND) == {(Kind.TOKEN, name)}

    play(story)


def test_a_token_whose_hour_is_over_is_deleted_though_its_task_lives():
    """GitHub takes it no more."""

    async def story(stage):
        task = stage.scene.add_task(age=4000)
        stage.scene.add_runner_of(task, online=True)
        name = stage.scene.add_token(task.arn, age=4000)
        assert results(await sweep_twice(stage)) == {(Kind.TOKEN, name)}

    play(story)


def test_parameters_of_others_are_not_touched():
    """Another deployment's, one without a tag, and one that is not below the path."""

    async def story(stage):
        place = f"{ARN}/{'1' * 32}"
        stage.scene.add_token(place, age=OLD, deployment="other")
        stage.scene.add_token(f"{ARN}/{'2' * 32}", age=OLD, deployment=None)
        stage.scene.add_token(place, age=OLD, name=f"/elsewhere/{'1' * 32}")
        stage.scene.add_token(place, age=OLD, name=f"{TOKENS}/deeper/{'1' * 32}")
        assert (await sweep_twice(stage)).results == []
        assert len(stage.scene.ssm.parameters) == 4

    play(story)


def test_many_tokens_are_deleted_ten_with_a_call_and_four_calls_a_second():
    """A thousand orphans take a hundred calls, and so half a minute."""

    async def story(stage):
        for number in range(1000):
            stage.scene.add_token(f"{ARN}/{number:032x}", age=600)
        await stage.sweeper.sweep()
        await pass_time(PAUSE)
        begun = stage.scene.now()
        report = await stage.sweeper.sweep()
        assert report.count(Outcome.REMOVED) == 1000
        assert stage.scene.weather.counts["ssm:DeleteParameters"] == 100
        assert 25 < stage.scene.now() - begun < 60

    play(story)


# --- runners --------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["by the table", "by its token", "by ECS", "by an earlier look"])
def test_a_runner_whose_task_is_gone_is_removed_if_its_task_was_ours(known):
    """Its name alone is no proof: another deployment may have the same prefix."""

    async def story(stage):
        scene, task = stage.scene, stage.scene.add_task()
        runner = scene.add_runner_of(task)
        if known == "by an earlier look":
            await stage.sweeper.sweep()
        if known == "by ECS":
            scene.end_task(task)
        else:
            del scene.ecs.tasks[task.id]
        if known == "by the table":
            await scene.add_launch(place=task.arn)
        if known == "by its token":
            scene.add_token(task.arn, age=600)
        report = await sweep_twice(stage)
        assert (Kind.RUNNER, runner.name) in results(report)
        assert scene.runners == []

    play(story)


def test_a_task_that_ecs_forgets_between_two_looks_is_still_known_as_ours():
    """ECS describes an ended task for an hour; the first look remembers whose it was."""

    async def story(stage):
        scene, task = stage.scene, stage.scene.add_task()
        scene.add_runner_of(task)
        scene.end_task(task)
        await stage.sweeper.sweep()
        assert scene.runners != []
        del scene.ecs.tasks[task.id]
        await sweep_twice(stage)
        assert scene.runners == []

    play(story)


@pytest.mark.parametrize("name", [f"ecs-{'1' * 32}-1", "ecs-buildhost-1", "mac-mini", "ecs-", "1"])
def test_runners_of_others_are_not_touched(name):
    """Also where they are named like ours, and are offline."""

    async def story(stage):
        stage.scene.add_runner(name)
        assert (await sweep_twice(stage)).results == []
        assert stage.scene.runners == [name]

    play(story)


@pytest.mark.parametrize("state", ["online", "busy", "booting"])
def test_a_runner_that_is_needed_is_not_removed(state):
    """It is online, or has a job though it is offline, or its task only starts."""

    async def story(stage):
        task = stage.scene.add_task()
        runner = stage.scene.add_runner_of(task, online=state == "online")
        await stage.scene.add_launch(place=task.arn)
        if state != "booting":
            del stage.scene.ecs.tasks[task.id]
        if state == "busy":
            runner.job = Job(1, 1, 1, runner.repository, ("small",), 60)
        assert (await sweep_twice(stage)).results == []
        assert stage.scene.runners == [runner.name]

    play(story)


def test_a_runner_that_gets_a_job_between_look_and_removal_is_kept():
    """GitHub refuses to remove it, and the report says why it is there."""

    async def story(stage):
        task = stage.scene.add_task()
        runner = stage.scene.add_runner_of(task)
        await stage.scene.add_launch(place=task.arn)
        del stage.scene.ecs.tasks[task.id]
        await stage.sweeper.sweep()
        await pass_time(PAUSE)
        listed, stage.scene.github.calls["_list_runners"] = stage.scene.ecs.list_tasks, 0

        async def list_tasks(**given):
            if stage.scene.github.calls["_list_runners"]:
                runner.job = Job(1, 1, 1, runner.repository, ("small",), 60)
            return await listed(**given)

        stage.scene.ecs.list_tasks = list_tasks
        report = await stage.sweeper.sweep()
        (result,) = report.results
        assert (result.outcome, result.detail, result.failed) == (
            Outcome.KEPT,
            "it has a job",
            False,
        )

    play(story)


def test_nothing_counts_as_gone_where_tasks_cannot_be_listed():
    """The sweep cannot see the tasks, and so knows nothing; the report says what was left out."""

    async def story(stage):
        stage.scene.add_token(f"{ARN}/{'1' * 32}", age=600)
        stage.scene.weather.outages["ecs"] = (0.0, 1e9)
        await stage.sweeper.sweep()
        await pass_time(PAUSE)
        report = await stage.sweeper.sweep()
        assert report.results == []
        assert [line for line in report.uncovered if line.startswith("tasks of runners")]
        assert report.errors

    play(story)


def test_a_cluster_that_cannot_be_listed_keeps_only_its_own_tasks_tokens():
    """The others are known: an old cluster, which the role may not see any more, stops nobody."""

    async def story(stage):
        hidden = stage.scene.add_token(f"{OTHER}/{'1' * 32}", age=600)
        unknown = stage.scene.add_token("2" * 32, age=600, described=False)
        name = stage.scene.add_token(f"{ARN}/{'3' * 32}", age=600)
        listed = stage.scene.ecs.list_tasks

        async def list_tasks(**given):
            if given["cluster"] == "old":
                raise AccessDenied("access denied (needs ecs:ListTasks)")
            return await listed(**given)

        stage.scene.ecs.list_tasks = list_tasks
        assert results(await sweep_twice(stage)) == {(Kind.TOKEN, name)}
        assert set(stage.scene.ssm.parameters) == {hidden, unknown}

    play(story)


def test_no_cluster_of_callers_with_accounts_of_their_own_is_asked_about():
    """The launcher's role may not list it, and nothing of the sweep's is there."""
    guest = (
        '[[pool]]\nname = "guest"\nlabels = ["guest"]\ntask_definition = "guest"\n'
        'cluster = "guests"\n'
        '[[caller]]\nname = "guest"\nrepositories = [7]\npools = ["guest"]\n'
        'account = "210987654321"\nrole = "arn:aws:iam::210987654321:role/x"\n'
        'external_id = "a-secret"\n'
    )

    async def story(stage):
        return stage.around.list_pool_clusters()

    assert play(story, pools=POOLS + guest) == ["runners"]
