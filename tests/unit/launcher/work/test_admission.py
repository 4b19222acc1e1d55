"""Who gets a runner, of which pool, and how many at once."""

import asyncio

import pytest
from structlog.testing import capture_logs

from launcher.places import Later, Why
from launcher.record.records import Records
from launcher.work import Maxima
from sidecar import github
from tests.unit.launcher.work.scene import POOLS, TABLE, arn, make_demand, open_scene, play
from tests.unit.launcher.work.test_stories import find, finish

FORK = {"event": "pull_request", "head_repository": {"full_name": "stranger/app"}}
FOR_ALL = POOLS + "[pool.access]\nforks = true\n"


def count_runs(scene):
    """Count the look-ups of runs."""
    return len([call for call in scene.hub.calls if "/runs/" in call])


# ---- policy ------------------------------------------------------------------------------------


def test_a_stranger_s_pull_request_starts_nothing_and_it_is_said():
    """A fork's head branch may be called main: its run tells where it comes from."""

    async def story(scene):
        scene.hub.runs[100] = FORK
        with capture_logs() as events:
            assert await scene.send(make_demand(head_branch="main")) is None
        (refused,) = find(events, "demand.refused")
        assert "stranger/app" in refused["reason"]
        assert scene.tasks.sent == []

    play(story)


def test_a_run_is_looked_up_once_for_all_of_its_jobs():
    """And only where a policy needs it."""

    async def story(scene):
        for number in (1, 2, 3):
            await scene.begin(number)
        assert count_runs(scene) == 1

    play(story)

    async def without(scene):
        await scene.begin()
        assert count_runs(scene) == 0

    play(without, FOR_ALL)


def test_a_policy_that_cannot_be_decided_admits_nobody():
    """GitHub is down, or refuses to tell: later. The message stays until somebody is admitted."""

    async def story(scene):
        scene.hub.error = github.TransientError("no answer")
        later = await scene.send(make_demand())
        assert "who asks is not known" in later.reason
        assert scene.tasks.sent == []
        scene.hub.error = None
        await scene.wait(20)
        assert (await scene.launch()).handed_over
        scene.hub.runs.clear()
        with capture_logs() as events:
            later = await scene.send(make_demand(2, run_id=200))
        assert "who asks is not known" in later.reason
        assert "Actions: read" in find(events, "demand.unknown")[0]["reason"]
        assert len(scene.tasks.sent) == 1

    play(story)


def test_another_repository_is_refused_without_a_question():
    """What the job says itself is enough."""
    own = POOLS + '[pool.access]\nrepositories = ["octo/other"]\n'

    async def story(scene):
        with capture_logs() as events:
            await scene.send(make_demand())
        assert find(events, "demand.refused")
        assert count_runs(scene) == 0

    play(story, own)


def test_the_next_pool_is_taken_where_the_first_refuses():
    """The policy of that pool goes with the token."""
    open_too = POOLS.replace('name = "small"', 'name = "open"') + "[pool.access]\nforks = true\n"

    async def story(scene):
        scene.hub.runs[100] = FORK
        launch = await scene.begin()
        assert launch.pool == "open"
        assert '"forks":true' in scene.parameters.written[0][1]

    play(story, POOLS + open_too)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("ubuntu-latest",), None),
        (("small", "gpu"), "small"),
        (("self-hosted", "windows"), "small"),
    ],
)
def test_what_is_ours_and_cannot_be_served_is_said_with_the_nearest_pool(labels, said):
    """What is not ours gets no line."""

    async def story(scene):
        with capture_logs() as events:
            await scene.send(make_demand(labels=labels))
            if said is None:
                await scene.send(make_demand(labels=labels, action="completed"))
                assert await scene.launch() is None
        assert [event["nearest"] for event in find(events, "demand.unserved")] == [said] * bool(
            said
        )
        assert [each for each in events if each["event"] != "demand.unserved"] == []
        assert scene.tasks.sent == []

    play(story)


def test_nothing_that_a_workflow_s_author_writes_reaches_the_request():
    """Labels, names and branches place and size nothing."""

    async def story(scene):
        canary = "canary-4711"
        await scene.begin_of(
            make_demand(job_name=canary, workflow=canary, head_branch=canary, labels=("SMALL",))
        )
        assert canary not in repr(scene.tasks.sent)
        assert "SMALL" not in repr(scene.tasks.sent)

    play(story)


def test_no_secret_is_in_the_request_or_the_record():
    """The token stands in its parameter alone."""

    async def story(scene):
        launch = await scene.begin()
        token = f"blob of {launch.runner_name}"
        assert token in scene.parameters.written[0][1]
        assert token not in repr(scene.tasks.sent)
        assert token not in repr(launch)
        assert token not in repr(scene.parameters.written[0][2])

    play(story)


# ---- maxima ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maxima", "most"),
    [(Maxima(), 3), (Maxima(repository=2), 2), (Maxima(account=1), 1)],
)
def test_no_more_than_the_maximum_live_at_once(maxima, most):
    """Of the pool, the repository, the account; starts under way count too."""

    async def story(scene):
        for number in range(1, 7):
            scene.hub.jobs[number] = {"status": "queued"}
            await scene.send(make_demand(number))
        assert len(scene.tasks.living) == most
        assert "its maximum" in scene.put_off[-1].reason or "older" in scene.put_off[-1].reason
        for _ in range(60):
            await scene.wait(30)
            assert len(scene.tasks.living) <= most
            for number in range(1, 7):
                launch = await scene.launch(number)
                if launch and launch.handed_over and not launch.served:
                    await scene.run(number, launch.runner_name)
                    await scene.complete(number, launch.runner_name, launch.place)
        assert len(scene.tasks.states) == 6
        await scene.wait(600)
        await scene.check_nothing_left()

    play(story, maxima=maxima)


def test_the_maximum_holds_with_several_workers_at_once():
    """All count in the same table."""

    async def story(scene):
        scenes = [scene]
        for number in (1, 2):
            other = open_scene()
            client = scene.records._calls._client
            other.records = Records(client, TABLE, f"worker-{number}", now=lambda: scene.clock[0])
            other.tasks, other.parameters, other.hub = scene.tasks, scene.parameters, scene.hub
            other.worker = other.make_worker()
            scenes.append(other)
        await asyncio.gather(
            *[scenes[number % 3].send(make_demand(number)) for number in range(1, 13)]
        )
        assert len(scene.tasks.living) == 3
        assert await scene.records.count("pool/small") == 3

    play(story)


# ---- order and pace ----------------------------------------------------------------------------


def test_the_oldest_job_gets_the_room_that_becomes_free():
    """A younger one that comes just then waits."""

    async def story(scene):
        for number in (1, 2, 3):
            await scene.begin(number)
        await scene.send(make_demand(4))
        scene.clock[0] += 1
        launch = await scene.launch(1)
        await scene.run(1, launch.runner_name)
        await scene.complete(1, launch.runner_name, launch.place)
        later = await scene.send(make_demand(5))
        assert later.reason == "a job that is older waits for room in the pool"
        await scene.wait(15)
        assert (await scene.launch(4)).place == arn(4)

    play(story)


def test_a_job_that_is_gone_is_not_waited_for():
    """Its place in front ends soon after its pause."""

    async def story(scene):
        for number in (1, 2, 3):
            await scene.begin(number)
        await scene.send(make_demand(4))
        scene.queue.pop()  # its message is lost
        launch = await scene.launch(1)
        await scene.run(1, launch.runner_name)
        await scene.complete(1, launch.runner_name, launch.place)
        scene.clock[0] += 1
        await scene.send(make_demand(5))
        await scene.wait(200)
        assert (await scene.launch(5)).handed_over

    play(story)


def test_in_a_drought_only_the_oldest_job_asks_for_room():
    """The others wait for it, so the calls stay few."""

    async def story(scene):
        scene.tasks.answers = [Later(Why.CAPACITY, "no room")] * 5
        scene.hub.jobs = {number: {"status": "queued"} for number in range(1, 4)}
        for number in (1, 2, 3):
            await scene.send(make_demand(number))
            scene.clock[0] += 0.1
        assert len(scene.tasks.sent) == 1
        while len(scene.tasks.living) < 3:
            await scene.wait(10)
        assert scene.now() < 1_800_000_000 + 900
        assert len(scene.tasks.sent) == 8
        assert (await scene.launch(1)).place == arn(1)

    play(story)


@pytest.mark.parametrize("end", ["cancelled", "on another's runner"])
def test_a_job_that_waits_for_room_no_more_lets_the_next_one_go(end):
    """Nobody waits for the oldest job until its time is over."""

    async def story(scene):
        first = await scene.begin(1)
        scene.tasks.answers = [Later(Why.CAPACITY, "no room")]
        scene.clock[0] += 1
        await scene.send(make_demand(2))
        scene.clock[0] += 1
        await scene.send(make_demand(3))
        assert not (await scene.launch(3)).handed_over
        if end == "cancelled":
            await scene.send(make_demand(2, "completed", conclusion="cancelled"))
        else:
            await scene.run(2, first.runner_name)
        scene.clock[0] += 1
        await scene.begin(4)

    play(story, POOLS.replace("maximum = 3", "maximum = 9"))


def test_a_launch_that_was_served_frees_its_place_for_the_next():
    """One after the other, in one place."""

    async def story(scene):
        for number in range(1, 6):
            await scene.begin(number)
            await finish(scene, number)

    play(story, POOLS.replace("maximum = 3", "maximum = 1"))
