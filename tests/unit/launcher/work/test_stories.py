"""From a queued job to a running task, and back to nothing."""

import json

import pytest
from structlog.testing import capture_logs

from launcher.demand.message import Poison
from launcher.places import Later, Refused, Started, Why
from sidecar import github
from sidecar.aws.calls import AwsError, TransientError
from tests.unit.launcher.work.scene import POOLS, arn, make_demand, play

NO_ROOM = Later(Why.CAPACITY, "cannot start a task: no room")


def find(events, name):
    """Return the events of a name."""
    return [event for event in events if event["event"] == name]


async def finish(scene, number=1):
    """Let a launch's runner take the job and end; check that nothing is left."""
    launch = await scene.boot(number)
    await scene.run(number, launch.runner_name)
    await scene.complete(number, launch.runner_name, launch.place)
    await scene.wait(400)
    assert (await scene.launch(number)).ended
    await scene.check_nothing_left()


def test_a_queued_job_gets_a_task_of_its_own_and_nothing_is_left():
    """Placed, handed over with the pool's policy, served, cleaned up; no job is looked up."""

    async def story(scene):
        launch = await scene.begin()
        (request,) = scene.tasks.sent
        assert request["launchType"] == "FARGATE"
        assert launch.place == arn(1)
        ((task, text, _),) = scene.parameters.written
        assert task == arn(1)
        assert json.loads(text)["policy"]["forks"] is False
        assert scene.hub.registered[0] == ("self-hosted", "small")
        await scene.boot()
        assert await scene.run(1, launch.runner_name) is None
        assert (await scene.launch()).served
        await scene.complete(1, launch.runner_name, launch.place)
        assert (await scene.launch()).ended
        await scene.wait(120)
        await scene.check_nothing_left()
        assert len(scene.tasks.sent) == 1
        assert [call for call in scene.hub.calls if "/jobs/" in call] == []

    play(story)


# ---- placed ------------------------------------------------------------------------------------


def test_without_room_the_job_waits_longer_each_time_and_says_why():
    """Each round has a client token that AWS has not seen; the reason is in the record."""

    async def story(scene):
        scene.tasks.answers = [NO_ROOM] * 5
        with capture_logs() as events:
            await scene.send(make_demand())
            while len(scene.tasks.sent) < 6:
                await scene.wait(10)
        launch = await scene.launch()
        assert (launch.place, launch.round, launch.tries) == (arn(1), 6, 1)
        assert launch.reasons == (NO_ROOM.reason,)
        assert len({request["clientToken"] for request in scene.tasks.sent}) == 6
        pauses = [event["seconds"] for event in find(events, "task.delayed")]
        assert len(pauses) == 5
        assert pauses[-1] > 4 * pauses[0]
        await finish(scene)

    play(story)


def test_a_job_that_is_not_queued_any_more_is_not_waited_for():
    """Its `completed` was lost: an old message is looked up before a task is started."""

    async def story(scene):
        scene.tasks.answers = [NO_ROOM] * 99
        scene.hub.jobs[1] = {"status": "completed", "conclusion": "cancelled"}
        await scene.send(make_demand())
        await scene.wait(900)
        launch = await scene.launch()
        assert launch.given_up == "its job is completed: cancelled"
        assert len(scene.tasks.sent) < 6
        await scene.check_nothing_left()

    play(story)


@pytest.mark.parametrize(
    ("message", "asked"),
    [({}, 0), ({"received": 2}, 1), ({"sent": 1_800_000_000 - 61, "first_seen": 1.7e9 + 9e7}, 1)],
)
def test_only_a_message_that_may_be_old_is_looked_up(message, asked):
    """Older than a minute, or received before."""

    async def story(scene):
        scene.hub.jobs[1] = {"status": "queued"}
        given = {**message, "first_seen": scene.now()}
        await scene.send(make_demand(), **given)
        assert len([call for call in scene.hub.calls if "/jobs/" in call]) == asked
        assert len(scene.tasks.sent) == 1

    play(story)


@pytest.mark.parametrize("trouble", ["limited", "down", "hidden"])
def test_a_look_up_that_gives_no_answer_stops_nothing(trouble):
    """Under a fifth of GitHub's calls none is made for it."""

    async def story(scene):
        scene.hub.runs[100] = {"event": "push", "head_repository": {"full_name": "octo/app"}}
        await scene.send(make_demand(2))
        scene.hub.jobs[1] = {"status": "completed"}
        if trouble == "limited":
            scene.hub.left = 0.19
        if trouble == "hidden":
            scene.hub.jobs = {}
        if trouble == "down":
            jit = scene.hub.create_jit_config
            scene.hub.error = github.TransientError("no answer")

            async def create(*given, **more):
                scene.hub.error = None
                return await jit(*given, **more)

            scene.hub.create_jit_config = create
        await scene.send(make_demand(1), received=2)
        assert (await scene.launch()).handed_over

    play(story)


def test_a_throttle_is_put_off_shortly():
    """The same client token works soon."""

    async def story(scene):
        scene.tasks.answers = [Later(Why.THROTTLE, "throttled")]
        later = await scene.send(make_demand())
        assert later.seconds <= 4
        await scene.wait(5)
        first, second = scene.tasks.sent
        assert first == second
        await finish(scene)

    play(story)


def test_a_quota_is_an_error_event_and_other_pools_go_on():
    """With the quota's name."""
    both = POOLS + POOLS.replace("small", "large")

    async def story(scene):
        scene.tasks.answers = [Later(Why.QUOTA, "the vCPU quota")]
        with capture_logs() as events:
            await scene.send(make_demand())
            await scene.send(make_demand(2, labels=("large",)))
        (delayed,) = find(events, "task.delayed")
        assert (delayed["log_level"], delayed["reason"]) == ("error", "the vCPU quota")
        assert (await scene.launch(2)).handed_over

    play(story, both)


def test_a_refusal_is_said_and_tried_again_until_somebody_has_changed_it():
    """Nothing is lost meanwhile."""

    async def story(scene):
        scene.tasks.answers = [Refused("cannot start a task: access denied (needs iam:PassRole)")]
        with capture_logs() as events:
            await scene.send(make_demand())
        assert "iam:PassRole" in find(events, "task.refused")[0]["reason"]
        await scene.wait(100)
        await finish(scene)

    play(story)


def test_an_answer_that_was_lost_is_settled_by_the_same_request():
    """Its task is adopted, by another worker too."""

    async def story(scene):
        before = scene.tasks.start

        async def lose(request):
            scene.tasks.start = before
            await before(request)
            raise TransientError("no answer")

        scene.tasks.start = lose
        with pytest.raises(TransientError):
            await scene.send(make_demand())
        scene.worker = scene.make_worker()
        await scene.send(make_demand(), count=1)
        assert scene.tasks.living == [arn(1)]
        await finish(scene)

    play(story)


def test_after_a_day_the_job_is_given_up_loudly():
    """GitHub keeps it no longer."""

    async def story(scene):
        scene.tasks.answers = [NO_ROOM] * 9999
        scene.hub.jobs[1] = {"status": "queued"}
        await scene.send(make_demand(), first_seen=scene.now() - 86_300)
        with capture_logs() as events:
            await scene.wait(900)
        (given_up,) = find(events, "launch.given_up")
        assert NO_ROOM.reason in given_up["reasons"]
        await scene.check_nothing_left()

    play(story)


# ---- handed over -------------------------------------------------------------------------------


def test_a_token_that_cannot_be_made_now_goes_to_the_same_task_later(monkeypatch):
    """GitHub is down for a while; no second task is started."""
    monkeypatch.setattr("launcher.tokens.github_backoff", lambda: lambda _: False)

    async def story(scene):
        scene.hub.runs[100] = {"event": "push", "head_repository": {"full_name": "octo/app"}}
        await scene.send(make_demand(9))
        scene.hub.error = github.TransientError("no answer")
        later = await scene.send(make_demand())
        assert "no answer" in later.reason
        scene.hub.error = None
        await scene.wait(200)
        launch = await scene.launch()
        assert (launch.handed_over, launch.place, launch.tries) == (True, arn(2), 1)

    play(story)


@pytest.mark.parametrize("where", ["GitHub", "SSM"])
def test_a_token_that_is_refused_stops_its_task(where):
    """The permission is in the log; the task does not wait for its time-out."""

    async def story(scene):
        if where == "SSM":
            scene.parameters.error = AwsError("cannot write: (needs ssm:PutParameter)")
        else:

            async def refuse(*_, **__):
                raise github.PermissionDenied("Administration: write", 403)

            scene.hub.create_jit_config = refuse
        with capture_logs() as events:
            await scene.send(make_demand())
        (delayed,) = find(events, "token.delayed")
        assert "ssm:PutParameter" in delayed["reason"] or "Administration" in delayed["reason"]
        assert scene.tasks.living == []
        assert scene.hub.runners_by_id == {}

    play(story)


def test_a_runner_that_never_comes_online_is_stopped_and_the_next_try_begins():
    """After the pool's boot limit; GitHub is asked once, then."""

    async def story(scene):
        await scene.begin()
        await scene.wait(301)
        assert scene.tasks.living == []
        await scene.send(scene.tasks.end(arn(1), 16))
        launch = await scene.launch()
        assert (launch.place, launch.tries, launch.failures) == (arn(2), 2, 1)
        assert "no runner is online after 300 s" in launch.reasons[0]
        await finish(scene)

    play(story)


def test_a_runner_that_is_online_waits_for_its_job():
    """As long as that is queued; its own idle limit ends it else."""

    async def story(scene):
        await scene.begin()
        await scene.boot()
        scene.hub.jobs[1] = {"status": "queued"}
        await scene.wait(1000)
        launch = await scene.launch()
        assert (launch.online, launch.tries) == (True, 1)
        await finish(scene)

    play(story)


# ---- messages ----------------------------------------------------------------------------------


def test_the_same_job_twice_is_one_launch():
    """Also side by side."""

    async def story(scene):
        await scene.begin()
        assert await scene.send(make_demand(1, delivery="again")) is None
        await scene.wait(130)
        assert len(scene.tasks.sent) == 1
        await finish(scene)
        assert await scene.send(make_demand(1, delivery="much later")) is None
        assert scene.tasks.living == []

    play(story)


def test_a_message_from_the_dead_letters_goes_on_with_its_launch():
    """Its workers died five times; sent back from there it is a new message, ten minutes later."""

    async def story(scene):
        scene.tasks.answers = [TransientError("the worker dies")]
        with pytest.raises(TransientError):
            await scene.send(make_demand())
        scene.hub.jobs[1] = {"status": "queued"}
        assert await scene.send(make_demand()) is None
        assert (await scene.launch()).place is None
        await scene.wait(600)
        await scene.send(make_demand())
        assert (await scene.launch()).place == arn(1)
        assert "/repos/octo/app/actions/jobs/1" in scene.hub.calls
        await finish(scene)

    play(story)


@pytest.mark.parametrize("body", ["no JSON", "[]", '{"labels": []}', '{"action": "queued"}', "1"])
def test_what_nobody_understands_is_poison(body):
    """It goes to the dead letters; nothing is started."""

    async def story(scene):
        from launcher.demand.message import Message

        with pytest.raises(Poison):
            await scene.worker.handle(Message(body, scene.now()))
        assert scene.tasks.sent == []

    play(story)


def test_a_tick_is_passed_on():
    """Warm runners are its business."""

    async def story(scene):
        assert await scene.send({"kind": "tick"}) is None
        assert scene.ticks == [scene.now()]

    play(story)


def test_tasks_of_others_are_left_alone():
    """An event of a task that no launch has, or of the command line's."""

    async def story(scene):
        event = scene.tasks.end(arn(77), 1)
        assert await scene.send(event) is None
        event["detail"]["startedBy"] = "runner-launcher/" + "f" * 32
        assert await scene.send(event) is None

    play(story)


def test_a_started_task_that_was_adopted_gets_one_token():
    """RunTask told of a task that an earlier, different request had started."""

    async def story(scene):
        task = scene.tasks._run().task
        scene.tasks.answers = [Started(task, adopted=True)]
        scene.parameters.held[task] = "an earlier one"
        launch = await scene.begin()
        assert (launch.place, scene.parameters.written) == (task, [])

    play(story)
