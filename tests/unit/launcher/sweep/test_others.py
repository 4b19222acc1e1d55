"""Tasks, machines, runners and parameters of other launchers, which the settings give."""

from functools import partial

import pytest

from launcher.sweep.claims import Claims
from launcher.sweep.findings import Kind
from tests.storms.github import Job
from tests.unit.launcher.sweep import scene as scenes
from tests.unit.launcher.sweep.scene import PAUSE, TOKENS, pass_time, results, sweep_twice

HOUR = 3600.0
TAG = {"Application": "runners"}
CLAIMS = Claims(
    "default", "ecs-", TOKENS, ("/gh_actions/token",), ("fargate-",), (("Application", "runners"),)
)
play = partial(scenes.play, table=False, pools=None, claims=CLAIMS)


def test_parameters_below_their_paths_are_deleted_after_an_hour():
    """Nothing tells whose they are: a name may be anything."""

    async def story(stage):
        add = partial(stage.scene.add_token, "", deployment=None, described=False)
        old, new = "/gh_actions/token/0a-1b", f"/gh_actions/token/{'1' * 32}"
        add(name=old, age=2 * HOUR)
        add(name=new, age=1800)
        add(name="/gh_actions/app/key", age=100 * HOUR)
        assert results(await sweep_twice(stage)) == {(Kind.TOKEN, old)}

    play(story)


def test_a_runner_that_names_no_task_has_the_time_of_a_boot():
    """It may be one whose task only starts."""

    async def story(stage):
        scene = stage.scene
        lost = scene.add_runner("fargate-a-quiet-one")
        for name, online in (("fargate-an-idle-one", True), ("other-quiet-one", False)):
            scene.add_runner(name, online=online)
        busy = scene.add_runner("fargate-a-busy-one")
        busy.job = Job(1, 1, 1, busy.repository, ("small",), 60)
        scene.add_runner("fargate-on-metal").ephemeral = False
        assert (await sweep_twice(stage)).count("removed") == 0
        await pass_time(1800)
        assert results(await stage.sweeper.sweep()) == {(Kind.RUNNER, lost.name)}

    play(story)


@pytest.mark.parametrize("form", ["fargate-{}", "fargate-{}-1-x"])
def test_a_runner_that_names_its_task_goes_with_it(form):
    """As one of ours; while the task lives it stays."""

    async def story(stage):
        task = stage.scene.add_task(tags=TAG)
        runner = stage.scene.add_runner(form.format(task.id))
        assert (await sweep_twice(stage)).results == []
        stage.scene.end_task(task)
        assert results(await sweep_twice(stage)) == {(Kind.RUNNER, runner.name)}

    play(story)


def test_a_task_with_their_tag_is_ended_after_a_boot_without_a_runner():
    """One without the tag is not; nor one whose runner is online, by its id or its Name."""

    async def story(stage):
        add, scene = partial(stage.scene.add_task, age=HOUR), stage.scene
        silent, by_id = add(tags=TAG), add(tags=TAG)
        add(tags={**TAG, "Name": "fargate-blue"})
        add(tags={"Application": "web"})
        for name in ("fargate-blue", f"fargate-{by_id.id}"):
            scene.add_runner(name, online=True)
        assert results(await sweep_twice(stage)) == {(Kind.TASK, silent.arn)}
        assert silent.desired == "STOPPED"

    play(story)


@pytest.mark.parametrize("state", ["busy", "online"])
def test_a_runner_of_which_nobody_knows_the_task_keeps_all_of_them(state):
    """It may be that of any."""

    async def story(stage):
        for _ in range(2):
            stage.scene.add_task(tags=TAG, age=100 * HOUR)
        runner = stage.scene.add_runner("fargate-who", online=True)
        if state == "busy":
            runner.job = Job(1, 1, 1, runner.repository, ("small",), 60)
        assert (await sweep_twice(stage)).results == []

    play(story)


def test_without_their_marks_nothing_of_others_is_seen():
    """Only what is ours."""

    async def story(stage):
        stage.scene.add_token("", name="/gh_actions/token/1", deployment=None, age=100 * HOUR)
        stage.scene.add_task(tags=TAG, age=100 * HOUR)
        stage.scene.add_runner("fargate-a-quiet-one")
        await sweep_twice(stage)
        await pass_time(HOUR + PAUSE)
        assert (await stage.sweeper.sweep()).results == []

    scenes.play(story)
