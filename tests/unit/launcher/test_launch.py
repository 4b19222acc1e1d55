"""The stages of a launch: each may be called again, and what fails is undone in reverse."""

import asyncio

import pytest
from structlog.testing import capture_logs

from launcher import launch as launching
from launcher.identity import task_id
from launcher.launch import Launch, Progress, Stages, explain_end
from launcher.places import Later, Refused, Started, TaskState, Why
from launcher.places.ecs import Destination
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

    async def make(self, name):
        """Register a runner and make its token."""
        if self.refusal is not None:
            raise self.refusal
        if await self.find(name):
            raise github.NameTaken("taken", 409)
        return RunnerToken(f"token of {name}", self.add(name))


def stages(*answers, destination=TWO):
    """Make the stages around a place that gives these answers."""
    place = Place(*answers)
    hub = Hub(place.done)
    return Stages(place, destination, Store(place.done), hub, hub, "ecs-", "default")


def new(**more):
    """Make a launch."""
    return Launch("id", "request", **more)


def running(made, launch):
    """Let the launch's task run."""
    made.ecs.states[launch.task] = TaskState(launch.task, "RUNNING", False, None, "")


# --- placed -------------------------------------------------------------------------------------


def test_placed_once_is_placed():
    """The second call asks nobody."""
    made, launch = stages(), new()
    assert run("asyncio", made.place(launch)) == run("asyncio", made.place(launch))
    assert len(made.ecs.sent) == 1


def test_a_full_pass_without_capacity_begins_a_new_round():
    """Each step and each round has a client token that AWS has not seen."""
    made, launch = stages(NONE, NONE, NONE), new()
    assert run("asyncio", made.place(launch)) == NONE
    assert isinstance(run("asyncio", made.place(launch)), Started)
    tokens = [request["clientToken"] for request in made.ecs.sent]
    assert len(set(tokens)) == len(tokens) == 4
    assert (launch.round, launch.step) == (2, 1)


@pytest.mark.parametrize("answer", [Later(Why.QUOTA, "x"), Later(Why.THROTTLE, "x"), Refused("x")])
def test_another_provider_does_not_help_against_a_quota(answer):
    """The same request is sent again, later: AWS has not answered it yet."""
    made, launch = stages(answer), new()
    assert run("asyncio", made.place(launch)) == answer
    run("asyncio", made.place(launch))
    assert made.ecs.sent[0] == made.ecs.sent[1]


def test_an_unknown_outcome_is_settled_by_the_same_request():
    """Even if the settings are others by then."""
    made, launch = stages(TransientError("no answer")), new()
    with pytest.raises(TransientError):
        run("asyncio", made.place(launch))
    later = stages(Started(arn(7)), destination=Destination("runners", "newer"))
    assert run("asyncio", later.place(launch)) == Started(arn(7))
    assert later.ecs.sent == made.ecs.sent
    assert launch.sent is None


def test_the_next_try_is_another_task():
    """Its client token is another, and nothing of the old task is remembered."""
    made, launch = stages(), new()
    run("asyncio", made.place(launch))
    run("asyncio", made.hand_over(launch))
    launch.next_try()
    assert (launch.task, launch.handed_over, launch.generation) == (None, False, 0)
    run("asyncio", made.place(launch))
    assert made.ecs.sent[0]["clientToken"] != made.ecs.sent[1]["clientToken"]


# --- handed over --------------------------------------------------------------------------------


async def handed_over(made, launch):
    """Place a launch and hand it over."""
    await made.place(launch)
    await made.hand_over(launch)
    running(made, launch)


def test_a_token_is_handed_over_once():
    """The second call makes none."""
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))
    run("asyncio", made.hand_over(launch))
    assert made.connection.made == [f"ecs-{1:032x}-1"]
    assert made.store.held == {arn(1): f"token of ecs-{1:032x}-1"}


def test_a_name_that_a_lost_answer_took_is_cleared():
    """The runner of that name is deleted, and the next generation is registered."""
    made, launch = stages(), new()
    made.connection.add(f"ecs-{1:032x}-1")
    run("asyncio", handed_over(made, launch))
    assert [each.name for each in made.connection.all.values()] == [f"ecs-{1:032x}-2"]
    assert launch.generation == 2


@pytest.mark.parametrize("left", ["token", "runner"])
def test_what_an_earlier_process_handed_over_is_kept(left):
    """Its token is there, or its agent has read it and its runner is there."""
    made, launch = stages(), new(may_exist=True)
    if left == "token":
        made.store.held[arn(1)] = "earlier"
    else:
        made.connection.add(f"ecs-{1:032x}-1")
    before = list(made.connection.made)
    run("asyncio", handed_over(made, launch))
    assert launch.handed_over
    assert made.connection.made == before
    assert list(made.store.held.values()) in (["earlier"], [])


def test_a_refused_token_leaves_no_runner_to_look_for():
    """GitHub said no, so the cleanup does not ask it again."""
    made, launch = stages(), new()
    made.connection.refusal = github.PermissionDenied("no", 403)
    run("asyncio", made.place(launch))
    with pytest.raises(github.PermissionDenied):
        run("asyncio", made.hand_over(launch))
    assert launch.generation == 0


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
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))
    made.ecs.states[launch.task] = TaskState(launch.task, *state, "why")
    assert run("asyncio", made.look(launch)) == progress


@pytest.mark.parametrize("known", [True, False])
def test_a_runner_is_online_when_github_says_so(known):
    """By its number, or by its name where the agent registers it."""
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))
    made.connection.all.clear()
    number = made.connection.add(f"ecs-{1:032x}-1", online=True)
    launch.runner_id = number if known else None
    assert run("asyncio", made.look(launch)) == Progress.ONLINE


def test_a_new_task_may_be_unknown_for_a_moment():
    """ECS is eventually consistent; later it is a failure."""
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))
    made.ecs.states.clear()
    launch.placed_at = float("inf")
    assert run("asyncio", made.look(launch)) == Progress.STARTING
    launch.placed_at = float("-inf")
    assert run("asyncio", made.look(launch)) == Progress.FAILED


# --- cleaned up ---------------------------------------------------------------------------------


def test_the_cleanup_is_in_reverse():
    """The runner first, so that it takes no job; then the task, then its token. Twice is once."""
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))
    assert run("asyncio", made.clean_up(launch, "not needed")) == []
    assert made.ecs.done == ["delete runner", "stop", "delete token"]
    assert run("asyncio", made.clean_up(launch, "not needed")) == []
    assert (made.store.held, made.connection.all) == ({}, {})


def test_a_busy_runner_keeps_its_task():
    """A job is never cut."""
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))
    number = launch.runner_id
    made.connection.all[number] = github.Runner(number, f"ecs-{1:032x}-1", True, True)
    assert run("asyncio", made.clean_up(launch, "not needed")) == []
    assert made.ecs.done == []


def test_a_runner_that_github_does_not_tell_of_keeps_its_task():
    """It may have a job; what is left is named, and can be stopped later."""
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))

    async def find(name):
        raise github.TransientError("no answer")

    made.connection.find = find
    left = run("asyncio", made.clean_up(launch, "not needed"))
    assert left == [f"runner of {arn(1)}", f"task {arn(1)}, whose runner may have a job"]
    assert made.ecs.done == []


def test_a_runner_that_comes_late_is_deleted_too():
    """Its agent registered while it was stopped."""
    made, launch = stages(), new()

    async def scene():
        await handed_over(made, launch)
        made.connection.all.clear()
        stop = made.ecs.stop

        async def register_and_stop(task, reason):
            made.connection.add(f"ecs-{1:032x}-1")
            await stop(task, reason)

        made.ecs.stop = register_and_stop
        assert await made.clean_up(launch, "not needed") == []

    run("asyncio", scene())
    assert made.connection.all == {}


def test_a_request_whose_outcome_is_unknown_is_settled_and_stopped():
    """The same request tells which task it started."""
    made, launch = stages(TransientError("no answer"), Started(arn(5))), new()
    with pytest.raises(TransientError):
        run("asyncio", made.place(launch))
    assert run("asyncio", made.clean_up(launch, "interrupted")) == []
    assert launch.task == arn(5)
    assert made.ecs.done == ["stop", "delete token"]


def test_a_launch_that_asked_for_nothing_has_nothing_to_undo():
    """Nobody is asked."""
    made = stages()
    assert run("asyncio", made.clean_up(new(), "x")) == []
    assert made.ecs.sent == []


def test_a_step_that_fails_is_named_and_the_next_one_is_taken():
    """The log says which permission it needs."""
    made, launch = stages(), new()
    run("asyncio", handed_over(made, launch))
    made.store.denied = True
    with capture_logs() as events:
        left = run("asyncio", made.clean_up(launch, "x"))
    assert left == [f"token of {arn(1)}"]
    (failed,) = [event for event in events if event["event"] == "cleanup.failed"]
    assert (failed["undo"], "ssm:DeleteParameter" in failed["reason"]) == ("token", True)
    assert made.ecs.done == ["delete runner", "stop"]


def test_a_task_that_does_not_end_is_not_awaited_for_ever(monkeypatch):
    """The runner is looked for once more all the same."""
    monkeypatch.setattr(launching, "END_TIMEOUT", 0.05)
    made, launch = stages(), new()

    async def scene():
        await handed_over(made, launch)

        async def ignore(task, reason):
            made.ecs.done.append("stop")

        made.ecs.stop = ignore
        with capture_logs() as events:
            assert await made.clean_up(launch, "x") == []
        assert "task.still_there" in [event["event"] for event in events]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (None, "ECS does not know the task any more"),
        (TaskState("t", "STOPPED", True, None, ""), "ECS gives no reason; no exit code"),
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
