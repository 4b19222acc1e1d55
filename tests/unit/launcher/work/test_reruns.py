"""Spot takes the task of a running job: it is told, and the job is run again once, on demand."""

import pytest
from structlog.testing import capture_logs

from launcher.pools import Pools
from sidecar import github
from tests.unit.launcher.work.scene import POOLS, make_demand, play
from tests.unit.launcher.work.test_stories import find

SPOT = POOLS.replace('launch_type = "FARGATE"', 'capacities = ["FARGATE_SPOT", "FARGATE"]')
RERUN = SPOT + "rerun_interrupted = true\n"
REASON = "SpotInterruption: Your Spot Task was interrupted."
RERUNS = "/repos/octo/app/actions/runs/100/rerun-failed-jobs"


def end_run(scene):
    """Let the other jobs of the run end."""
    scene.hub.runs[100]["status"] = "completed"


async def interrupt(scene, number=1, conclusion="cancelled", attempt=1):
    """Run a job, and let Spot take its task; return the event of the task's end."""
    launch = await scene.begin_of(make_demand(number, run_attempt=attempt))
    await scene.run(number, launch.runner_name)
    scene.hub.remove(launch.runner_name)
    scene.hub.jobs[number] = {
        "status": "completed",
        "conclusion": conclusion,
        "runner_name": launch.runner_name,
    }
    return scene.tasks.end(launch.place, 22, REASON)


def asked(scene):
    """Count how often a re-run was asked for."""
    return scene.hub.calls.count(RERUNS)


def capacity(request):
    """Say where a request of RunTask wants its task."""
    strategy = request.get("capacityProviderStrategy")
    return strategy[0]["capacityProvider"] if strategy else request.get("launchType")


def test_an_interruption_is_told_before_the_task_ends():
    """Two minutes ahead, with the job that is hit."""

    async def story(scene):
        launch = await scene.begin()
        await scene.run(1, launch.runner_name)
        event = scene.tasks.end(launch.place, None, REASON)
        event["detail"] |= {"lastStatus": "RUNNING"}
        with capture_logs() as events:
            await scene.send(event)
        (told,) = find(events, "task.interrupted")
        assert (told["job"], told["has_job"]) == (1, True)
        assert told["reason"] == "Your Spot Task was interrupted."
        assert not (await scene.launch()).ended

    play(story, SPOT)


def test_a_stop_that_is_no_interruption_is_not_told_ahead():
    """Its STOPPED event comes, and says all."""

    async def story(scene):
        launch = await scene.begin()
        event = scene.tasks.end(launch.place, None, "UserInitiated: x")
        event["detail"] |= {"lastStatus": "RUNNING"}
        with capture_logs() as events:
            assert await scene.send(event) is None
        assert events == []

    play(story, SPOT)


def test_nothing_is_run_again_by_default():
    """It is off: a job that changes something must not run twice unasked."""

    async def story(scene):
        event = await interrupt(scene)
        end_run(scene)
        assert await scene.send(event) is None
        assert (await scene.launch()).ended
        assert asked(scene) == 0

    play(story, SPOT)


def test_the_failed_jobs_run_again_when_the_run_has_ended():
    """GitHub takes it no sooner; the message waits for the other jobs."""

    async def story(scene):
        event = await interrupt(scene)
        assert await scene.send(event) is not None
        assert asked(scene) == 0
        end_run(scene)
        with capture_logs() as events:
            await scene.wait(300)
        assert asked(scene) == 1
        (told,) = find(events, "rerun.asked")
        assert (told["run"], told["attempt"]) == (100, 2)
        await scene.check_nothing_left()

    play(story, RERUN)


def test_the_same_event_twice_runs_it_again_once():
    """SQS may deliver it twice, and EventBridge too."""

    async def story(scene):
        event = await interrupt(scene)
        end_run(scene)
        await scene.send(event)
        end_run(scene)
        await scene.send(event)
        assert asked(scene) == 1

    play(story, RERUN)


def test_an_answer_that_is_lost_asks_no_second_time():
    """The run's attempt tells that GitHub took it."""

    async def story(scene):
        event = await interrupt(scene)
        end_run(scene)
        really = scene.hub.run_again

        def lose(run):
            really(run)
            raise github.TransientError("reset")

        scene.hub.run_again = lose
        assert await scene.send(event) is not None
        with capture_logs() as events:
            await scene.wait(60)
        assert asked(scene) == 1
        assert len(find(events, "rerun.asked")) == 1

    play(story, RERUN)


def test_the_next_attempt_gets_a_task_on_demand():
    """Only that one: another run's re-run, by hand, goes to Spot first."""

    async def story(scene):
        event = await interrupt(scene)
        end_run(scene)
        await scene.send(event)
        await scene.begin_of(make_demand(2, run_attempt=2))
        scene.hub.runs[101] = scene.hub.runs[100] | {"run_attempt": 2}
        await scene.begin_of(make_demand(3, run_attempt=2, run_id=101))
        assert [capacity(request) for request in scene.tasks.sent] == [
            "FARGATE_SPOT",
            "FARGATE",
            "FARGATE_SPOT",
        ]

    play(story, RERUN)


def test_a_pool_of_spot_alone_uses_fargate_for_it():
    """As launch type: the cluster may not have the provider."""

    async def story(scene):
        await scene.send(await interrupt(scene))
        end_run(scene)
        await scene.wait(300)
        await scene.begin_of(make_demand(2, run_attempt=2))
        assert [capacity(request) for request in scene.tasks.sent] == ["FARGATE_SPOT", "FARGATE"]
        assert scene.tasks.sent[1]["launchType"] == "FARGATE"

    play(story, RERUN.replace('["FARGATE_SPOT", "FARGATE"]', '["FARGATE_SPOT"]'))


def test_a_run_is_run_again_once_at_most():
    """The second interruption is told, and a person decides."""

    async def story(scene):
        await scene.send(await interrupt(scene))
        end_run(scene)
        await scene.wait(300)
        event = await interrupt(scene, 2, attempt=2)
        end_run(scene)
        with capture_logs() as events:
            assert await scene.send(event) is None
        assert asked(scene) == 1
        assert find(events, "rerun.skipped")[0]["reason"] == "it was run again once before"

    play(story, RERUN)


@pytest.mark.parametrize("conclusion", ["success", "skipped"])
def test_a_job_that_had_ended_is_not_run_again(conclusion):
    """The task was taken between its job's end and its own."""

    async def story(scene):
        event = await interrupt(scene, conclusion=conclusion)
        end_run(scene)
        assert await scene.send(event) is None
        assert asked(scene) == 0

    play(story, RERUN)


def test_a_run_that_somebody_has_run_again_is_left_alone():
    """A person was faster."""

    async def story(scene):
        event = await interrupt(scene)
        end_run(scene)
        scene.hub.run_again(100)
        with capture_logs() as events:
            assert await scene.send(event) is None
        assert asked(scene) == 0
        assert find(events, "rerun.skipped")[0]["reason"] == "somebody else has run it again"

    play(story, RERUN)


def test_a_missing_permission_is_named():
    """Running again needs Actions: write, which nothing else does."""

    async def story(scene):
        event = await interrupt(scene)
        end_run(scene)

        def refuse(_run):
            raise github.PermissionDenied("Resource not accessible by integration", 403)

        scene.hub.run_again = refuse
        with capture_logs() as events:
            assert await scene.send(event) is None
        assert "Actions: write" in find(events, "rerun.refused")[0]["reason"]

    play(story, RERUN)


def test_a_run_that_does_not_end_is_given_up_after_a_day():
    """Nothing waits in the queue for ever."""

    async def story(scene):
        await scene.send(await interrupt(scene))
        with capture_logs() as events:
            await scene.wait(26 * 3600)
        assert scene.queue == []
        assert asked(scene) == 0
        assert len(find(events, "rerun.skipped")) == 1

    play(story, RERUN)


def test_a_pool_that_is_gone_runs_nothing_again():
    """Its document was changed meanwhile."""

    async def story(scene):
        event = await interrupt(scene)
        end_run(scene)
        scene.pools = Pools({})
        assert await scene.send(event) is None
        assert asked(scene) == 0

    play(story, RERUN)
