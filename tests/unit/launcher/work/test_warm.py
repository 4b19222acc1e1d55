"""Warm runners: as many as the hour wants, through the same record, and none left afterwards."""

import json

import pytest
from structlog.testing import capture_logs

from launcher.connections import Connections
from launcher.places import Later, Why
from launcher.pools.access import Access
from launcher.secret import Secret
from launcher.warm import WarmRunners
from launcher.work.queued import HEAD_START
from sidecar.aws.calls import TransientError
from tests.unit.launcher.work.scene import POOLS, make_demand, play

WARM = POOLS + "min = 2\n"
SCHEDULED = (
    POOLS
    + """
[[pool.schedules]]
min = 2
time_zone = "UTC"
from = "00:00"
to = "23:59"
"""
)
MINUTE = 60.0


class Home:
    """Says where the warm runners of a pool are registered."""

    wrong = None

    def __call__(self, access):
        """Return the repository, or raise."""
        assert access.repositories == ()
        if self.wrong:
            raise ValueError(self.wrong)
        return "octo/app"


def warm_of(scene, home=None):
    """Return what keeps the warm runners of a scene: a new process's, each time."""
    return WarmRunners(scene.worker._queued._around, home or Home())


async def tick(scene, times=1):
    """Let minutes pass, each with a tick."""
    for _ in range(times):
        await scene.wait(MINUTE)
        await warm_of(scene).keep()
        for runner in list(scene.hub.runners_by_id.values()):
            scene.hub.set_runner(runner.name, online=True)


def runners(scene):
    """Return the names of all runners."""
    return sorted(runner.name for runner in scene.hub.runners_by_id.values())


def test_the_minimum_is_kept_and_nothing_is_started_twice():
    """Whoever ticks: the record of each slot is found."""

    async def story(scene):
        await tick(scene, 5)
        assert len(scene.tasks.living) == len(runners(scene)) == 2
        assert scene.hub.registered[0] == ("self-hosted", "linux", "x64", "small")
        assert await scene.records.count("pool/small") == 2
        assert len(scene.tasks.sent) == 2

    play(story, WARM)


def test_a_warm_task_may_be_idle_for_all_of_its_life():
    """The agent of a job's task may not."""

    async def story(scene):
        await tick(scene)
        await scene.send(make_demand(1), count=1)
        limits = []
        for request in scene.tasks.sent:
            (container,) = request["overrides"]["containerOverrides"]
            found = {each["name"]: each["value"] for each in container["environment"]}
            limits.append(found["SIDECAR_IDLE_LIMIT"] == found["SIDECAR_LIFETIME_LIMIT"])
        assert limits == [True, True, False]

    play(story, WARM)


def test_a_task_that_ended_gets_a_successor():
    """A warm runner lives as long as its pool's clock says, and is never given up for that."""

    async def story(scene):
        await tick(scene)
        for number in range(5):
            task = scene.tasks.living[0]
            scene.hub.runners_by_id.clear()
            scene.parameters.held.clear()
            await scene.send(scene.tasks.end(task, 18))
            await tick(scene, 2)
            assert len(scene.tasks.living) == 2, number

    with capture_logs() as events:
        play(story, WARM)
    assert "launch.given_up" not in [each["event"] for each in events]


@pytest.mark.parametrize("late", [False, True])
def test_a_job_that_takes_a_warm_runner_gets_its_task(late):
    """The slot is filled again at once; what was started for the job meanwhile is stopped."""

    async def story(scene):
        await tick(scene)
        warm = runners(scene)[0]
        await scene.send(make_demand(1))
        if late:
            await scene.wait(HEAD_START)
        assert len(scene.tasks.living) == 2 + late
        await scene.run(1, warm)
        if not late:
            assert len(scene.tasks.sent) == 3  # the third one fills the slot
        for task in [task for task, state in scene.tasks.states.items() if state.stopping]:
            await scene.send(scene.tasks.end(task, 0, "UserInitiated: not needed"))
        await scene.wait(40)
        await tick(scene, 3)
        launch = await scene.launch(1)
        assert launch.served
        assert launch.runner_name == warm
        assert launch.place is not None
        assert len(scene.tasks.living) == 3
        await scene.complete(1, warm, launch.place)
        await tick(scene, 3)
        assert len(scene.tasks.living) == len(runners(scene)) == 2

    play(story, WARM)


def test_a_job_that_no_warm_runner_takes_gets_a_task_of_its_own():
    """After a moment."""

    async def story(scene):
        await tick(scene)
        await scene.send(make_demand(1))
        assert await scene.launch(1) is None
        await scene.wait(HEAD_START)
        assert (await scene.launch(1)).handed_over
        assert len(scene.tasks.living) == 3

    play(story, WARM)


def test_what_the_hour_does_not_want_is_ended():
    """Runner, token and task; one that has a job is left alone."""

    async def story(scene):
        await tick(scene)
        busy, _ = runners(scene)
        scene.hub.set_runner(busy, online=True, busy=True)
        scene.clock[0] += 16 * 3600 - 60 - scene.now() % 86_400 + 8 * 3600  # 23:59
        await warm_of(scene).keep()
        assert runners(scene) == [busy]
        assert len(scene.tasks.living) == 1
        scene.hub.set_runner(busy, online=True, busy=False)
        for task, state in list(scene.tasks.states.items()):
            if state.stopping:
                await scene.send(scene.tasks.end(task, 0, "UserInitiated: not wanted"))
        await warm_of(scene).keep()
        for task, state in list(scene.tasks.states.items()):
            if state.stopping and state.status != "STOPPED":
                await scene.send(scene.tasks.end(task, 0, "UserInitiated: not wanted"))
        await warm_of(scene).keep()
        await scene.check_nothing_left()
        await tick(scene, 2)  # after midnight
        assert len(scene.tasks.living) == 2

    play(story, SCHEDULED)


def test_a_waiting_slot_holds_up_no_job():
    """Without room the jobs come first, however long the slot has waited."""

    async def story(scene):
        scene.tasks.answers += [Later(Why.CAPACITY, "no capacity")] * 2
        await tick(scene)
        assert scene.tasks.living == []
        await scene.send(make_demand(1), count=1)
        assert len(scene.tasks.living) == 1
        await tick(scene, 2)
        assert len(scene.tasks.living) == 3

    play(story, WARM)


def test_an_error_keeps_no_other_slot_from_its_work():
    """It is said, and the next tick tries again."""

    async def story(scene):
        scene.tasks.answers.append(TransientError("ECS answers 500"))
        await tick(scene)
        assert len(scene.tasks.living) == 1
        await tick(scene, 2)
        assert len(scene.tasks.living) == 2

    with capture_logs() as events:
        play(story, WARM)
    assert [each["event"] for each in events].count("warm.failed") == 1


def test_a_pool_whose_scope_nobody_tells_is_said_once():
    """A warm runner is registered somewhere, and no job says where."""

    async def story(scene):
        home = Home()
        home.wrong = "a pool with warm runners needs one owner"
        warm = warm_of(scene, home)
        await warm.keep()
        await warm.keep()
        assert scene.tasks.sent == []

    with capture_logs() as events:
        play(story, WARM)
    skipped = [each for each in events if each["event"] == "warm.skipped"]
    assert [(each["pool"], each["reason"]) for each in skipped] == [
        ("small", "a pool with warm runners needs one owner")
    ]


@pytest.mark.parametrize(
    ("server", "scope", "access", "home"),
    [
        ("https://github.com/octo", "repository", Access(), "octo/-"),
        ("https://github.com/octo/app", "repository", Access(), "octo/app"),
        ("https://github.com", "enterprise:big", Access(), "-/-"),
        ("https://github.com", "organization", Access(owners=("Octo",)), "octo/-"),
        ("https://github.com", "organization", Access(("octo/a", "octo/b*")), "octo/-"),
        ("https://github.com", "organization", Access(("octo/a", "acme/b")), None),
        ("https://github.com", "organization", Access(), None),
        ("https://github.com", "repository", Access(("octo/a",)), "octo/a"),
        ("https://github.com", "repository", Access(("octo/*",)), None),
        ("https://github.com", "repository", Access(("octo/a",), ("octo",)), None),
    ],
)
def test_the_scope_of_a_pool_s_warm_runners_is_found(server, scope, access, home):
    """In the settings, or in the pool's policy where that names one only."""
    connections = Connections(server, scope, token=Secret("ghp_x", "LAUNCHER_GITHUB_PAT", None))
    if home is not None:
        assert connections.find_home(access) == home
        return
    with pytest.raises(ValueError, match="a pool with warm runners needs one"):
        connections.find_home(access)


def test_a_tick_reaches_the_warm_runners():
    """By the queue, from a schedule."""

    async def story(scene):
        await scene.send(json.loads('{"kind":"tick"}'))
        assert scene.ticks == [scene.now()]

    play(story, WARM)
