"""The stages of a launch: each may be called again, and what fails is undone in reverse."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from launcher import launch as launching
from launcher.identity import task_id
from launcher.journal import MemoryJournal
from launcher.launch import Stages
from launcher.look import Progress, explain_end
from launcher.places import Later, Refused, Started, TaskState, Why
from launcher.places.request import Destination
from launcher.record.launch import Launch
from launcher.tokens import RunnerToken
from sidecar import github
from sidecar.aws.calls import AwsError, TransientError
from tests.support.loops import run

TWO = Destination("runners", "runner", capacity_providers=("SPOT", "FARGATE"))
NONE = Later(Why.CAPACITY, "no room")


def arn(number):
    """Return the ARN of a task."""
    return f"arn:aws:ecs:eu-central-1:1:task/runners/{number:032x}"


class Place:
    """A place that answers from a list; a task is RUNNING until it is stopped."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []
        self.done = []
        self.states = {}

    async def start(self, request):
        """Give the next answer, or raise it."""
        self.sent.append(request)
        answer = self.answers.pop(0) if self.answers else Started(arn(len(self.sent)))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def look(self, tasks):
        """Give the states that are known."""
        found = {task_id(task): self.states.get(task) for task in tasks}
        return {task: state for task, state in found.items() if state}

    async def stop(self, task, reason):
        """End the task."""
        self.done.append("stop")
        self.states[task] = TaskState(task, "STOPPED", True, 0, reason)


class Store:
    """Token parameters in memory."""

    def __init__(self, done):
        self.held = {}
        self.done = done
        self.denied = False

    async def write(self, task, token, tags, is_used):  # noqa: ARG002
        """Keep the token."""
        self.held[task] = token.text

    async def exists(self, task):
        """Whether there is one."""
        return task in self.held

    async def delete(self, task):
        """Forget the token."""
        if self.denied:
            raise AwsError("cannot delete it: access denied (needs ssm:DeleteParameter)")
        self.done.append("delete token")
        return self.held.pop(task, None) is not None


class Hub:
    """GitHub's runners in memory, and the maker of their tokens."""

    url = "https://github.com/octo/app"

    def __init__(self, done):
        self.all = {}
        self.done = done
        self.made = []
        self.refusal = None

    async def runners(self):
        """Return the calls."""
        return self

    async def find(self, name):
        """Return the runner of that name."""
        return next((each for each in self.all.values() if each.name == name), None)

    async def get(self, runner_id):
        """Return the runner of that number."""
        return self.all.get(runner_id)

    async def delete(self, runner_id):
        """Delete the runner, unless it has a job."""
        if self.all[runner_id].busy:
            raise github.RunnerBusy("busy", 422)
        self.done.append("delete runner")
        del self.all[runner_id]

    def add(self, name, *, busy=False, online=False):
        """Register a runner."""
        number = len(self.made) + 20
        self.made.append(name)
        self.all[number] = github.Runner(number, name, busy, online)
        return number

    async def make(self, name, *, keep):
        """Register a runner and make its token."""
        self.kept = keep
        if self.refusal is not None:
            raise self.refusal
        if await self.find(name):
            raise github.NameTaken("taken", 409)
        return RunnerToken(f"token of {name}", self.add(name))


def stages(*answers, destination=TWO):
    """Make the stages around a place that gives these answers."""
    place = Place(*answers)
    hub = Hub(place.done)
    store, journal = Store(place.done), MemoryJournal()
    return Stages(place, destination, store, hub, hub, "ecs-", "default", journal)


def new(**more):
    """Make a launch."""
    return Launch("id", "", "", 0.0, order="request", **more)


def latest(made):
    """Return the launch as it was written down last."""
    return made.journal.latest(new())


def running(made, launch):
    """Let the launch's task run."""
    made.ecs.states[launch.place] = TaskState(launch.place, "RUNNING", False, None, "")


# --- placed -------------------------------------------------------------------------------------


def test_placed_once_is_placed():
    """The second call asks nobody."""
    made = stages()
    launch, first = run("asyncio", made.place(new()))
    assert run("asyncio", made.place(launch)) == (launch, first)
    assert len(made.ecs.sent) == 1


def test_a_full_pass_without_capacity_begins_a_new_round():
    """Each step and each round has a client token that AWS has not seen."""
    made = stages(NONE, NONE, NONE)
    launch, answer = run("asyncio", made.place(new()))
    assert answer == NONE
    launch, answer = run("asyncio", made.place(launch))
    assert isinstance(answer, Started)
    tokens = [request["clientToken"] for request in made.ecs.sent]
    assert len(set(tokens)) == len(tokens) == 4
    assert (launch.round, launch.step) == (2, 1)


def test_each_single_subnet_is_asked_after_all_of_them():
    """Fargate looks into one zone only, which it chooses itself."""
    two = Destination(
        "runners", "runner", capacity_providers=("SPOT", "FARGATE"), subnets=("a", "b")
    )
    made = stages(*[NONE] * 6, destination=two)
    run("asyncio", made.place(new()))
    asked = [
        (
            request["capacityProviderStrategy"][0]["capacityProvider"],
            "".join(request["networkConfiguration"]["awsvpcConfiguration"]["subnets"]),
        )
        for request in made.ecs.sent
    ]
    assert asked == [(p, s) for s in ("ab", "a", "b") for p in ("SPOT", "FARGATE")]


def test_after_a_throttle_the_same_request_is_sent_again():
    """AWS has not answered it yet."""
    made = stages(Later(Why.THROTTLE, "x"))
    launch, _ = run("asyncio", made.place(new()))
    run("asyncio", made.place(launch))
    assert made.ecs.sent[0] == made.ecs.sent[1]


@pytest.mark.parametrize("answer", [Later(Why.QUOTA, "x"), Refused("x")])
def test_another_provider_does_not_help_against_a_quota(answer):
    """The first one is asked again, later: with a new token, since AWS remembers refusals."""
    made = stages(answer)
    launch, found = run("asyncio", made.place(new()))
    assert found == answer
    run("asyncio", made.place(launch))
    first, second = made.ecs.sent
    assert first["clientToken"] != second["clientToken"]
    assert first["capacityProviderStrategy"] == second["capacityProviderStrategy"]


def test_an_unknown_outcome_is_settled_by_the_same_request():
    """Even if the settings are others by then."""
    made = stages(TransientError("no answer"))
    with pytest.raises(TransientError):
        run("asyncio", made.place(new()))
    later = stages(Started(arn(7)), destination=Destination("runners", "newer"))
    launch, answer = run("asyncio", later.place(latest(made)))
    assert answer == Started(arn(7))
    assert later.ecs.sent == made.ecs.sent
    assert launch.place == arn(7)


def test_a_throttle_after_a_lost_answer_keeps_the_request():
    """Nobody knows whether the first one was done."""
    made = stages(TransientError("no answer"))
    with pytest.raises(TransientError):
        run("asyncio", made.place(new()))
    later = stages(Later(Why.THROTTLE, "x"))
    launch, _ = run("asyncio", later.place(latest(made)))
    assert launch.request == latest(made).request


def test_the_request_is_written_down_before_it_is_sent():
    """Whoever takes over sends the stored one."""
    made = stages()
    seen = []
    start = made.ecs.start

    async def look_and_start(request):
        seen.append(json.loads(latest(made).request))
        return await start(request)

    made.ecs.start = look_and_start
    run("asyncio", made.place(new()))
    assert seen == made.ecs.sent


def test_the_next_try_is_another_task():
    """Its client token is another, and nothing of the old task is remembered."""
    made = stages()
    launch = run("asyncio", handed_over(made, new())).next_try("it ended")
    assert (launch.place, launch.handed_over, launch.generation) == (None, False, 0)
    run("asyncio", made.place(launch))
    assert made.ecs.sent[0]["clientToken"] != made.ecs.sent[1]["clientToken"]


def test_a_pool_s_size_and_tags_are_in_the_request():
    """ECS wants CPU and memory as text; the launcher's own tags win."""
    sized = Destination(
        "runners",
        "runner",
        cpu=1024,
        memory=2048,
        ephemeral_storage=50,
        tags=(("team", "a"), ("runner-launcher:launch", "forged")),
    )
    made = stages(destination=sized)
    run("asyncio", made.place(new()))
    (request,) = made.ecs.sent
    size = {key: value for key, value in request["overrides"].items() if "container" not in key}
    assert size == {"cpu": "1024", "memory": "2048", "ephemeralStorage": {"sizeInGiB": 50}}
    tags = {tag["key"]: tag["value"] for tag in request["tags"]}
    assert (tags["team"], tags["runner-launcher:launch"]) == ("a", "id")


# --- handed over --------------------------------------------------------------------------------


async def handed_over(made, launch):
    """Place a launch and hand it over."""
    launch, _ = await made.place(launch)
    launch = await made.hand_over(launch)
    running(made, launch)
    return launch


def test_a_token_is_handed_over_once():
    """The second call makes none."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))
    assert run("asyncio", made.hand_over(launch)) == launch
    assert made.connection.made == [f"ecs-{1:032x}-1"]
    assert made.store.held == {arn(1): f"token of ecs-{1:032x}-1"}


def test_a_name_that_a_lost_answer_took_is_cleared():
    """The runner of that name is deleted, and the next generation is registered."""
    made = stages()
    made.connection.add(f"ecs-{1:032x}-1")
    launch = run("asyncio", handed_over(made, new()))
    assert [each.name for each in made.connection.all.values()] == [f"ecs-{1:032x}-2"]
    assert launch.generation == 2


@pytest.mark.parametrize("left", ["token", "runner"])
def test_what_an_earlier_process_handed_over_is_kept(left):
    """Its token is there, or its agent has read it and its runner is there."""
    made = stages()
    if left == "token":
        made.store.held[arn(1)] = "earlier"
    else:
        made.connection.add(f"ecs-{1:032x}-1")
    before = list(made.connection.made)
    launch = run("asyncio", handed_over(made, new(may_exist=True)))
    assert launch.handed_over
    assert launch.runner_name == f"ecs-{1:032x}-1"
    assert made.connection.made == before
    assert list(made.store.held.values()) in (["earlier"], [])


def test_the_generation_is_written_down_before_its_token_is_made():
    """Whoever takes over knows which runner to look for."""
    made = stages()
    seen = []
    make = made.maker.make

    async def look_and_make(name, **more):
        seen.append((latest(made).generation, latest(made).runner_name == name))
        return await make(name, **more)

    made.maker.make = look_and_make
    run("asyncio", handed_over(made, new()))
    assert seen == [(1, True)]


def interrupted(made, *, seconds):
    """Return a launch whose token was announced so long ago by a process that died."""
    launch = replace(new(), place=arn(1)).next_generation(f"ecs-{1:032x}-1", time.time() - seconds)
    running(made, launch)
    return launch


def test_a_token_of_which_nobody_knows_is_not_made_twice_at_once():
    """Its agent may have read it and not be online yet."""
    made = stages()
    made.connection.add(f"ecs-{1:032x}-1")
    launch = interrupted(made, seconds=1)
    assert run("asyncio", made.hand_over(launch)) == launch
    assert len(made.connection.all) == 1


def test_a_missing_token_whose_runner_is_online_was_delivered():
    """No second one is made."""
    made = stages()
    number = made.connection.add(f"ecs-{1:032x}-1", online=True)
    launch = run("asyncio", made.hand_over(interrupted(made, seconds=1)))
    assert (launch.handed_over, launch.runner_id) == (True, number)
    assert made.store.held == {}


def test_a_token_that_was_announced_and_never_written_is_made_anew():
    """The runner of the lost one is deleted, and the next generation has another name."""
    made = stages()
    made.connection.add(f"ecs-{1:032x}-1")
    launch = run("asyncio", made.hand_over(interrupted(made, seconds=100)))
    assert (launch.handed_over, launch.generation) == (True, 2)
    assert [each.name for each in made.connection.all.values()] == [f"ecs-{1:032x}-2"]


def test_a_refused_token_leaves_no_runner_to_look_for():
    """GitHub said no, so the cleanup does not ask it again."""
    made = stages()
    made.connection.refusal = github.PermissionDenied("no", 403)
    with pytest.raises(github.PermissionDenied):
        run("asyncio", handed_over(made, new()))
    assert latest(made).generation == 0


# --- online -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "progress"),
    [
        (("PROVISIONING", False, None), Progress.STARTING),
        (("RUNNING", False, None), Progress.RUNNING),
        (("RUNNING", True, None), Progress.STARTING),
        (("STOPPED", True, 0), Progress.SERVED),
        (("STOPPED", True, 12), Progress.FAILED),
        (("STOPPED", True, None), Progress.FAILED),
    ],
)
def test_the_progress_of_a_task(state, progress):
    """A missing exit code is no success."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))
    made.ecs.states[launch.place] = TaskState(launch.place, *state, "why")
    assert run("asyncio", made.look(launch)).progress == progress


@pytest.mark.parametrize("known", [True, False])
def test_a_runner_is_online_when_github_says_so(known):
    """By its number, or by its name where the agent registers it."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))
    made.connection.all.clear()
    number = made.connection.add(f"ecs-{1:032x}-1", online=True)
    launch = replace(launch, runner_id=number if known else None)
    assert run("asyncio", made.look(launch)).progress == Progress.ONLINE


def test_a_new_task_may_be_unknown_for_a_moment():
    """ECS is eventually consistent; later it is a failure."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))
    made.ecs.states.clear()
    assert run("asyncio", made.look(launch)).progress == Progress.STARTING
    launch = replace(launch, placed_at=launch.placed_at - 31)
    assert run("asyncio", made.look(launch)).progress == Progress.FAILED


# --- cleaned up ---------------------------------------------------------------------------------


def clean_up(made, launch, reason="x"):
    """Clean up; return what is left."""
    return run("asyncio", made.clean_up(launch, reason)).left


def test_the_cleanup_is_in_reverse():
    """The runner first, so that it takes no job; then the task, then its token. Twice is once."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))
    assert clean_up(made, launch) == []
    assert made.ecs.done == ["delete runner", "stop", "delete token"]
    assert clean_up(made, launch) == []
    assert (made.store.held, made.connection.all) == ({}, {})


def test_a_busy_runner_keeps_its_task():
    """A job is never cut."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))
    number = launch.runner_id
    made.connection.all[number] = github.Runner(number, f"ecs-{1:032x}-1", True, True)
    cleanup = run("asyncio", made.clean_up(launch, "not needed"))
    assert (cleanup.left, cleanup.busy) == ([], True)
    assert made.ecs.done == []


def test_a_runner_that_github_does_not_tell_of_keeps_its_task():
    """It may have a job; what is left is named, and can be stopped later."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))

    async def find(name):
        raise github.TransientError("no answer")

    made.connection.find = find
    left = clean_up(made, launch)
    assert left == [f"runner of {arn(1)}", f"task {arn(1)}, whose runner may have a job"]
    assert made.ecs.done == []


def test_a_runner_that_comes_late_is_deleted_too():
    """Its agent registered while it was stopped."""
    made = stages()

    async def scene():
        launch = await handed_over(made, new())
        made.connection.all.clear()
        stop = made.ecs.stop

        async def register_and_stop(task, reason):
            made.connection.add(f"ecs-{1:032x}-1")
            await stop(task, reason)

        made.ecs.stop = register_and_stop
        assert (await made.clean_up(launch, "not needed")).left == []

    run("asyncio", scene())
    assert made.connection.all == {}


def test_a_request_whose_outcome_is_unknown_is_settled_and_stopped():
    """The same request tells which task it started."""
    made = stages(TransientError("no answer"), Started(arn(5)))
    with pytest.raises(TransientError):
        run("asyncio", made.place(new()))
    assert clean_up(made, latest(made)) == []
    assert latest(made).place == arn(5)
    assert made.ecs.done == ["stop", "delete token"]


def test_a_launch_that_asked_for_nothing_has_nothing_to_undo():
    """Nobody is asked."""
    made = stages()
    assert clean_up(made, new()) == []
    assert made.ecs.sent == []


def test_a_step_that_fails_is_named_and_the_next_one_is_taken():
    """The log says which permission it needs."""
    made = stages()
    launch = run("asyncio", handed_over(made, new()))
    made.store.denied = True
    with capture_logs() as events:
        left = clean_up(made, launch)
    assert left == [f"token of {arn(1)}"]
    (failed,) = [event for event in events if event["event"] == "cleanup.failed"]
    assert (failed["undo"], "ssm:DeleteParameter" in failed["reason"]) == ("token", True)
    assert made.ecs.done == ["delete runner", "stop"]


def test_a_task_that_does_not_end_is_not_awaited_for_ever(monkeypatch):
    """The runner is looked for once more all the same."""
    monkeypatch.setattr(launching, "END_TIMEOUT", 0.05)
    made = stages()

    async def scene():
        launch = await handed_over(made, new())

        async def ignore(task, reason):
            made.ecs.done.append("stop")

        made.ecs.stop = ignore
        with capture_logs() as events:
            assert (await made.clean_up(launch, "x")).left == []
        assert "task.still_there" in [event["event"] for event in events]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (None, "AWS does not know it any more"),
        (TaskState("t", "STOPPED", True, None, ""), "AWS gives no reason; no exit code"),
        (
            TaskState("t", "STOPPED", True, 18, "Essential"),
            "Essential; exit code 18 (no job came within SIDECAR_IDLE_LIMIT)",
        ),
        (TaskState("t", "STOPPED", True, 137, "OOM"), "OOM; exit code 137"),
    ],
)
def test_an_end_is_explained_in_one_line(state, text):
    """ECS's reason, the exit code, and what it means to the agent."""
    assert explain_end(state) == text
