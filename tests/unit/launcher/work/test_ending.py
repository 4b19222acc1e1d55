"""Tasks that end before their runners have a job, and pools whose tasks all fail."""

import pytest
from structlog.testing import capture_logs

from launcher.pools.pool import Pools
from launcher.work.pool_rules import FAILURES
from sidecar import github
from sidecar.aws.calls import TransientError
from tests.unit.launcher.work.scene import POOLS, arn, make_demand, play
from tests.unit.launcher.work.test_stories import find, finish

CANNOT_PULL = "TaskFailedToStart: CannotPullContainerError: not found"


@pytest.mark.parametrize(
    ("exit_code", "reason", "words"),
    [
        (None, CANNOT_PULL, "CannotPullContainerError: not found; no exit code"),
        (13, "EssentialContainerExited: gone", "exit code 13 (GitHub or the runner's"),
        (137, "EssentialContainerExited: OutOfMemoryError", "exit code 137"),
        (1, "EssentialContainerExited: gone", "exit code 1"),
    ],
)
def test_a_task_that_ends_too_early_is_tried_again(exit_code, reason, words):
    """Its token is deleted; ECS's reason and the agent's exit code are in one line."""

    async def story(scene):
        launch = await scene.begin()
        with capture_logs() as events:
            await scene.send(scene.tasks.end(launch.place, exit_code, reason))
        (failed,) = find(events, "task.failed")
        assert words in failed["reason"]
        assert list(scene.parameters.held) == [arn(2)]
        launch = await scene.launch()
        assert (launch.place, launch.failures) == (arn(2), 1)
        assert words in launch.reasons[-1]
        await finish(scene)

    play(story)


@pytest.mark.parametrize("exit_code", [0, 25])
def test_a_runner_that_got_another_job_is_stolen_whether_it_ran_or_was_refused(exit_code):
    """25: it failed a job that the policy does not admit. The pool is not at fault."""

    async def story(scene):
        launch = await scene.begin()
        with capture_logs() as events:
            await scene.send(
                scene.tasks.end(launch.place, exit_code, "EssentialContainerExited: x")
            )
        assert len(find(events, "launch.stolen")) == 1
        assert find(events, "task.failed") == []
        launch = await scene.launch()
        assert (launch.place, launch.thefts, launch.failures) == (arn(2), 1, 0)
        assert (await scene.records.pools.read("small")).failures == 0
        await finish(scene)

    play(story)


def test_three_tries_then_it_is_given_up_loudly():
    """With the reasons of all; nothing is left."""

    async def story(scene):
        await scene.begin()
        with capture_logs() as events:
            for number in (1, 2, 3):
                await scene.send(scene.tasks.end(arn(number), None, f"{CANNOT_PULL} {number}"))
        (given_up,) = find(events, "launch.given_up")
        assert given_up["log_level"] == "error"
        assert "3 tasks ended" in given_up["reason"]
        assert len(given_up["reasons"]) == 4
        await scene.wait(900)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 3

    play(story)


@pytest.mark.parametrize(
    "reason",
    [
        "TaskFailedToStart: RESOURCE:MEMORY",
        "TaskFailedToStart: subnet-1 does not have enough free addresses",
        "SpotInterruption: Your Spot Task was interrupted.",
    ],
)
def test_no_room_after_a_good_answer_is_no_fault(reason):
    """A subnet without addresses, a machine that never came, a Spot task that was taken back."""

    async def story(scene):
        launch = await scene.begin()
        await scene.send(scene.tasks.end(launch.place, None, reason))
        launch = await scene.launch()
        assert (launch.place, launch.tries, launch.failures) == (arn(2), 2, 0)
        assert (await scene.records.pools.read("small")).failures == 0
        await finish(scene)

    play(story)


def test_an_end_that_nobody_told_is_seen():
    """The event is lost: the job's own message looks."""

    async def story(scene):
        launch = await scene.begin()
        scene.tasks.end(launch.place, None, CANNOT_PULL)
        await scene.wait(130)
        assert (await scene.launch()).place == arn(2)
        await finish(scene)

    play(story)


def test_an_end_is_handled_once():
    """Its event comes twice, and late."""

    async def story(scene):
        launch = await scene.begin()
        event = scene.tasks.end(launch.place, None, CANNOT_PULL)
        await scene.send(event)
        await scene.send(event)
        launch = await scene.launch()
        assert (launch.place, launch.failures) == (arn(2), 1)

    play(story)


def test_a_killed_runner_is_removed_after_its_job():
    """A Spot interruption of a running job: the runner does not stay at GitHub."""

    async def story(scene):
        launch = await scene.begin()
        await scene.boot()
        await scene.run(1, launch.runner_name)
        scene.hub.set_runner(launch.runner_name, busy=False)
        await scene.send(scene.tasks.end(launch.place, None, "SpotInterruption: taken back"))
        assert scene.hub.runners_by_id == {}
        await scene.send(
            make_demand(1, "completed", conclusion="failure", runner_name=launch.runner_name)
        )
        await scene.wait(400)
        await scene.check_nothing_left()

    play(story)


def test_a_token_that_cannot_be_deleted_now_is_deleted_later():
    """The next try waits for it: nothing is orphaned."""

    async def story(scene):
        launch = await scene.begin()
        delete, scene.parameters.delete = scene.parameters.delete, None

        async def fail(task):
            raise TransientError("SSM does not answer")

        scene.parameters.delete = fail
        later = await scene.send(scene.tasks.end(launch.place, None, CANNOT_PULL))
        assert "token" in later.reason
        scene.parameters.delete = delete
        await scene.wait(100)
        assert list(scene.parameters.held) == [arn(2)]
        await finish(scene)

    play(story)


@pytest.mark.parametrize("hidden", [True, False])
def test_where_github_does_not_tell_of_a_job_it_is_served(hidden):
    """A missing permission starts a task too many at most; an outage is waited for."""

    async def story(scene):
        launch = await scene.begin()
        if not hidden:
            scene.hub.error = github.TransientError("no answer")
        scene.hub.runners_by_id.clear()
        await scene.send(scene.tasks.end(launch.place, 18))
        assert len(scene.tasks.sent) == (2 if hidden else 1)
        scene.hub.error = None
        await scene.wait(120)
        assert (await scene.launch()).place == arn(2)

    play(story)


# ---- pools that change -------------------------------------------------------------------------


def test_a_pool_that_is_gone_gives_its_launches_to_another():
    """What waits goes on there; what was started without a job is taken back first."""
    both = POOLS + POOLS.replace('name = "small"', 'name = "other"').replace(
        '["small"]', '["small", "x"]'
    )

    async def story(scene):
        launch = await scene.begin()
        scene.pools = Pools({"other": scene.pools.by_name["other"]})
        await scene.wait(61)
        assert scene.tasks.living == []
        await scene.send(scene.tasks.end(launch.place, 16))
        await scene.wait(60)
        launch = await scene.launch()
        assert (launch.pool, launch.place) == ("other", arn(2))
        assert await scene.records.count("pool/small") == 0

    play(story, both)


# ---- a pool whose launches all fail ------------------------------------------------------------


def test_a_pool_whose_tasks_all_fail_is_stopped_and_says_so():
    """Then one launch tries at a time; a job that is served opens it again."""

    async def story(scene):
        with capture_logs() as events:
            for number in range(1, FAILURES + 1):
                await scene.begin(number) if number % 3 == 1 else None
                await scene.send(scene.tasks.end(arn(number), None, CANNOT_PULL))
            (stopped,) = find(events, "pool.stopped")
            assert (stopped["pool"], "CannotPull" in stopped["reason"]) == ("small", True)
            for number in (20, 21):
                await scene.send(make_demand(number))
            assert "the pool is stopped" in scene.put_off[-1].reason
            before = len(scene.tasks.sent)
            await scene.wait(120)
            assert len(scene.tasks.sent) == before + 1
            (running,) = scene.tasks.living
            (number,) = [
                number for number in (20, 21) if (await scene.launch(number)).place == running
            ]
            await scene.run(number, (await scene.launch(number)).runner_name)
            assert find(events, "pool.resumed")
        await scene.wait(130)
        assert len(scene.tasks.living) == 2

    play(story)


def test_one_launch_alone_does_not_stop_its_pool():
    """Its three tries are fewer than it takes."""

    async def story(scene):
        await scene.begin()
        for number in (1, 2, 3):
            await scene.send(scene.tasks.end(arn(number), None, CANNOT_PULL))
        await scene.begin(2)

    play(story)
