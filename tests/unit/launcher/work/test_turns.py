"""Tasks are started as fast as RunTask and GitHub allow, and their tokens deleted as SSM does."""

import asyncio
import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from launcher.demand.message import Message
from launcher.identity import task_id
from launcher.places import Later, Why
from launcher.record.paces import Pace
from launcher.work import Rates
from sidecar import github
from sidecar.aws import sealing
from sidecar.aws.calls import RateLimited
from tests.unit.launcher.work.scene import POOLS, arn, make_demand, play
from tests.unit.launcher.work.test_stories import find

MANY = POOLS.replace("maximum = 3", "maximum = 1000")
REGISTERED = MANY.replace("just-in-time", "registration")
SLOW = Rates(starts=2, start_burst=2, configurations=1, configuration_burst=2)


async def queue(scene, count, first=1):
    """Queue some jobs at once, each at one of two workers; return how long each is put off."""
    workers = scene.worker, scene.make_worker()
    waits = []
    for number in range(first, first + count):
        scene.worker = workers[number % 2]
        scene.hub.jobs[number] = {"status": "queued"}
        later = await scene.send(make_demand(number))
        waits.append(later.seconds if "calls a second" in later.reason else 0)
    return waits


def watch(scene):
    """Write down when each task is started."""
    starts = []

    async def note(request):
        del request
        starts.append(scene.now())

    scene.tasks.before = note
    return starts


@pytest.fixture(autouse=True)
def _registration(monkeypatch):
    async def create(self, *, tries):
        del self, tries
        return github.IssuedToken("TOKEN", None)

    monkeypatch.setattr(
        "tests.unit.launcher.work.scene.Hub.create_registration_token", create, raising=False
    )


def test_starts_are_spread_over_all_workers():
    """A burst at once; then each launch has a turn of its own, to which it comes once."""

    async def story(scene):
        starts = watch(scene)
        waits = await queue(scene, 42)
        assert waits[:2] == [0, 0]
        assert waits[-1] == pytest.approx(20, abs=0.1)
        await scene.wait(60)
        assert len(starts) == len(scene.tasks.living) == 42
        for second in range(30):
            begin = scene.clock[0] - 60 + second
            assert sum(begin <= at < begin + 1 for at in starts) <= 4
        said = [later for later in scene.put_off if "RunTask takes" in later.reason]
        assert len(said) == 40 - 2  # a turn within the next second is not waited for

    play(story, REGISTERED, rates=SLOW)


def test_a_refused_start_lets_all_wait_a_little_longer():
    """Also those who have their turns already; its own turn stays."""

    async def story(scene):
        starts = watch(scene)
        await queue(scene, 10)
        scene.tasks.answers = [Later(Why.THROTTLE, "throttled")] * 2
        scene.hub.jobs[11] = {"status": "queued"}
        await scene.wait(60)
        assert len(scene.tasks.living) == 10
        assert len(starts) == 12
        assert starts[-1] - 1_800_000_000 >= 4 + 2 * 4 / 2

    play(story, REGISTERED, rates=SLOW)


def test_a_just_in_time_pool_starts_no_task_faster_than_github_gives_configurations():
    """Else tasks would wait for tokens, and end without them."""

    async def story(scene):
        starts = watch(scene)
        await queue(scene, 32)
        await scene.wait(120)
        assert len(scene.tasks.living) == scene.hub.calls.count("jit") == 32
        assert starts[-1] - 1_800_000_000 == pytest.approx(30, abs=1.5)

    play(story, MANY, rates=SLOW)


def test_a_server_of_one_s_own_has_no_such_limit():
    """GitHub Enterprise Server limits no rate as it is delivered."""

    async def story(scene):
        scene.hub.url = "https://github.acme.example/octo/app"
        starts = watch(scene)
        await queue(scene, 32)
        await scene.wait(120)
        assert starts[-1] - 1_800_000_000 == pytest.approx(15, abs=1.5)

    play(story, MANY, rates=SLOW)


def test_nothing_is_started_while_github_s_hour_is_used_up():
    """The line goes on when the calls are there again; the tasks' tokens are made at once."""

    async def story(scene):
        scene.hub.left, scene.hub.resets_at = 0.009, scene.now() + 1800
        starts = watch(scene)
        await queue(scene, 10)
        await scene.wait(1799)
        assert starts == []
        scene.hub.left = 1.0
        await scene.wait(60)
        assert len(scene.tasks.living) == scene.hub.calls.count("jit") == 10

    play(story, MANY, rates=SLOW)


def test_github_s_refusal_of_a_configuration_stops_the_line():
    """For as long as GitHub says; the refusal has made no runner, so none is looked for."""

    async def story(scene):
        starts = watch(scene)
        scene.hub.error = None
        await scene.send(make_demand(1))
        runs = dict(scene.hub.runs)
        scene.hub.error = github.RateLimited("slow down", 403, 900.0)
        await scene.send(make_demand(2))
        scene.hub.error = None
        scene.hub.runs = runs
        before = len(starts)
        await queue(scene, 6, first=3)
        await scene.wait(800)
        assert len(starts) == before
        await scene.wait(200)
        assert len(scene.tasks.living) == 6

    play(story, MANY, rates=SLOW)


def test_a_launch_that_waits_for_its_turn_gives_its_place_to_an_older_one():
    """Else each of the two waits for the other: one for room, one for the older to go first."""

    async def story(scene):
        await scene.records.paces.take(Pace("RunTask", 0.1, 1))
        older = scene.now() - 100
        await scene.send(make_demand(2))
        assert (await scene.launch(2)).counters
        await scene.send(make_demand(1), first_seen=older)
        assert "its maximum" in scene.put_off[-1].reason
        await scene.wait(120)
        assert (await scene.launch(1)).place == arn(1)
        assert (await scene.launch(2)).counters == ()

    pools = REGISTERED.replace("maximum = 1000", "maximum = 1")
    play(story, pools, rates=Rates(starts=0.1, start_burst=1))


def test_a_message_that_waited_for_its_turn_is_not_looked_up():
    """What came meanwhile is in its record; one that comes long after its turn is looked up."""

    async def story(scene):
        await queue(scene, 5)
        await scene.wait(250)
        assert len(scene.tasks.sent) == 3
        assert not [call for call in scene.hub.calls if "/jobs/" in call]
        scene.queue = [each for each in scene.queue if each[2].count == 1]  # those with a turn
        scene.clock[0] += 3600  # nobody works
        await scene.wait(1)
        asked = [call for call in scene.hub.calls if "/jobs/" in call]
        assert len(asked) == len(set(asked)) == 2

    play(story, REGISTERED, rates=Rates(starts=0.01, start_burst=1))


# --- the tokens of a fleet ------------------------------------------------------------------------


def test_the_tokens_of_a_fleet_are_deleted_ten_with_one_call():
    """When their runners have their jobs; the first few are their agents' to delete."""

    async def story(scene):
        await queue(scene, 30)
        launches = [await scene.launch(number) for number in range(1, 31)]
        kept = [launch.keeps_token for launch in launches]
        assert kept == [False] * 5 + [True] * 25
        for number, launch in enumerate(launches, 1):
            scene.hub.jobs[number] = {"status": "in_progress", "runner_name": launch.runner_name}
            scene.hub.set_runner(launch.runner_name, online=True, busy=True)
            if not launch.keeps_token:
                await scene.parameters.delete(launch.place)
            await scene.send(
                make_demand(number, "in_progress", runner_name=launch.runner_name, runner_id=1)
            )
        assert scene.parameters.calls == [10, 10]
        assert len(scene.parameters.held) == 5
        await scene.send({"kind": "tick"})
        assert scene.parameters.calls == [10, 10, 5]
        assert scene.parameters.held == {}

    play(story, MANY, rates=Rates(start_burst=100, deletions=0.1, deletion_burst=5))


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_kept_token_is_deleted_at_its_task_s_end_where_nobody_told_of_the_job(exit_code):
    """The delivery was lost, or the task failed before it had a job."""

    async def story(scene):
        await scene.records.paces.take_now(Pace("DeleteParameter", 0.1, 0))
        launch = await scene.begin(1)
        assert launch.keeps_token
        scene.hub.jobs[1] = {
            "status": "completed",
            "conclusion": "success",
            "runner_name": launch.runner_name,
        }
        scene.hub.remove(launch.runner_name)
        await scene.send(scene.tasks.end(launch.place, exit_code))
        await scene.send({"kind": "tick"})
        await scene.wait(400)
        assert (await scene.launch(1)).ended or exit_code
        assert launch.place not in scene.parameters.held

    play(story, MANY, rates=Rates(deletions=0.1, deletion_burst=0))


@pytest.mark.parametrize("repeated", [True, False])
def test_a_token_that_was_written_twice_is_deleted_when_its_task_has_ended(repeated):
    """Its agent has deleted the first one, and knows of no other."""

    async def story(scene):
        write = scene.parameters.write

        async def write_again(*given):
            await write(*given)
            return repeated

        scene.parameters.write = write_again
        launch = await scene.begin(1)
        await scene.run(1, launch.runner_name)
        scene.parameters.held[launch.place] = "the second one"
        await scene.complete(1, launch.runner_name, launch.place)
        assert scene.parameters.held == ({} if repeated else {launch.place: "the second one"})

    play(story)


def test_a_deletion_that_fails_is_tried_again_with_the_next_tick():
    """SSM limits the rate; the job's own message is done with."""

    async def story(scene):
        await scene.records.paces.take_now(Pace("DeleteParameter", 0.1, 0))
        launch = await scene.begin(1)
        scene.hub.set_runner(launch.runner_name, online=True, busy=True)
        scene.parameters.error = RateLimited("throttled by SSM")
        demand = make_demand(1, "in_progress", runner_name=launch.runner_name, runner_id=1)
        assert await scene.send(demand) is None
        with capture_logs() as events:
            await scene.send({"kind": "tick"})
        assert "throttled" in find(events, "token.undeleted")[0]["reason"]
        assert arn(1) in scene.parameters.held
        scene.parameters.error = None
        scene.clock[0] += 61
        await scene.send({"kind": "tick"})
        assert scene.parameters.held == {}

    play(story, MANY, rates=Rates(deletions=0.1, deletion_burst=0))


def test_two_workers_do_not_delete_the_same_tokens():
    """One of them has all, for a minute."""

    async def story(scene):
        for number in range(1, 10):
            await scene.records.used_tokens.add(f"{number:032x}")
        workers = scene.worker, scene.make_worker()
        tick = '{"kind": "tick"}'
        await asyncio.gather(*(worker.handle(Message(tick, 0)) for worker in workers))
        assert scene.parameters.calls == [9]

    play(story)


# --- what a job could read ------------------------------------------------------------------------


def read_key(request):
    """Return the key in a request of RunTask."""
    (container,) = request["overrides"]["containerOverrides"]
    variables = {each["name"]: each["value"] for each in container["environment"]}
    return variables.get("SIDECAR_TOKEN_KEY")


@pytest.mark.parametrize("keeps", [True, False])
def test_a_token_that_registers_more_runners_is_sealed_for_the_task_alone(keeps):
    """A job with the task's role may read the parameter, until it is deleted, and learns nothing.

    The key is in the task's environment, made anew for each task, and opens nothing else.
    """

    async def story(scene):
        if keeps:
            await scene.records.paces.take_now(Pace("DeleteParameter", 0.1, 0))
        launches = [await scene.begin(number) for number in (1, 2)]
        keys = [read_key(request) for request in scene.tasks.sent]
        assert len(set(keys)) == 2
        for launch, key in zip(launches, keys, strict=True):
            text = scene.parameters.held[launch.place]
            assert "TOKEN" not in text
            document = json.loads(sealing.unseal(text, key, task_id(launch.place)))
            assert document["token"] == "TOKEN"
            assert document.get("keep", False) is launch.keeps_token is keeps

    play(story, REGISTERED, rates=Rates(deletions=0.1, deletion_burst=0 if keeps else 10))


def test_a_token_for_one_runner_needs_no_seal():
    """Just in time: the runner is registered already, and the configuration is used once."""

    async def story(scene):
        launch = await scene.begin(1)
        assert read_key(scene.tasks.sent[0]) is None
        assert not sealing.is_sealed(scene.parameters.held[launch.place])

    play(story, MANY)


def test_a_token_that_cannot_be_sealed_is_deleted_by_its_agent_at_once():
    """The task was started by a launcher of before: its agent has no key."""

    async def story(scene):
        await scene.records.paces.take_now(Pace("DeleteParameter", 0.1, 0))
        start = scene.tasks.start

        async def adopt(request):
            return replace(await start(request), adopted=True)

        scene.tasks.start = adopt
        scene.hub.jobs[1] = {"status": "queued"}
        await scene.send(make_demand(1))
        await scene.wait(200)
        launch = await scene.launch(1)
        assert not launch.keeps_token
        document = json.loads(scene.parameters.held[launch.place])
        assert "keep" not in document

    play(story, REGISTERED, rates=Rates(deletions=0.1, deletion_burst=0))
