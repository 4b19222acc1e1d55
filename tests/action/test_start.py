"""The action that starts runners, end to end: its steps, a real ECS stand-in, real agents."""

import json
import signal

import pytest

from local import ecs
from local.composite import SIGNALS, running
from local.faults import Rule
from local.stage import PAT
from tests.action.jobs import inputs, make_job, play, queue_job, start, stop, text_of
from tests.launches.stage import open_stage

# --- all goes well ------------------------------------------------------------------------------


def test_a_job_runs_on_the_runner_that_was_started_for_it(aws):
    """It asks for the unique label alone; then nothing is left in SSM, ECS and GitHub."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            action = start(job)
            assert await action.run(**inputs()) == "success", text_of(job)
            (task,) = stage.ecs.tasks
            (runner,) = stage.github.world.runners
            labels = [label.name for label in runner.labels]
            assert labels == ["self-hosted", action.outputs["label"]]
            assert json.loads(action.outputs["runner_names"]) == [runner.name]
            assert json.loads(action.outputs["task_arns"]) == [task.arn]
            assert action.outputs["task_id"] == task.arn
            assert f"1 of 1 runners are online: {runner.name}" in text_of(job)
            assert f"| {runner.name} | {task.facts.id} | online |" in job.summary.replace("\\", "")
            assert action.ran == ["Install the launcher", "Start the runners"]
            queued = queue_job(stage, job.job_output(action.outputs["runs_on"]))
            await stage.wait_for_job(queued)
            await stage.check_nothing_left()

    play(scene())


def test_no_secret_is_told(aws):
    """Not in the log, outputs and summary, and not to ECS, even where nobody masks."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            action = start(job)
            more = {"count": "2", "labels": "none", "wait_for": "running"}
            assert await action.run(**inputs(**more)) == "success", text_of(job)
            assert PAT in job.masks
            secrets = [PAT, *(token.value for token in stage.github.world.tokens)]
            secrets += [value for value in job.masks if value not in secrets]
            told = "\n".join(job.raw) + json.dumps(action.outputs) + job.summary
            told += "".join(path.read_text() for path in job.temp.glob("*.json"))
            told += repr(stage.ecs.requests)
            assert "LAUNCHER_" not in told
            assert [secret for secret in secrets if secret in told] == []
            for queued in [queue_job(stage, action.outputs["runs_on"]) for _ in range(2)]:
                await stage.wait_for_job(queued)
            await stage.check_nothing_left()

    play(scene())


@pytest.mark.parametrize("name", ["count", "task_count"])
def test_three_are_three(aws, name):
    """As many tasks as asked for, under both names, and all of them are waited for."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            action = start(job)
            stage.ecs.may_run.clear()
            async with running(action, **inputs(**{name: "3"})) as run:
                await stage.ecs.wait_for(lambda: len(stage.ecs.tasks) == 3)
                stage.ecs.may_run.set()
                assert await run == "success", text_of(job)
            runners = list(stage.github.world.runners)
            assert len(runners) == 3
            assert all(stage.github.world.online(runner) for runner in runners)
            assert "3 of 3 runners are online" in text_of(job)
            for queued in [queue_job(stage, action.outputs["runs_on"]) for _ in range(3)]:
                await stage.wait_for_job(queued)
            await stage.check_nothing_left()

    play(scene())


def test_outputs_are_there_before_it_waits(aws):
    """Whoever is cancelled while it waits has told already which tasks there are."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            action = start(job)
            stage.ecs.may_run.clear()
            async with running(action, **inputs()) as run:
                await action.wait_for_text("has its token")
                told = job.find_file("output", "label=")
                assert 'runs_on=["run-4711-' in told
                assert stage.ecs.tasks[0].arn in told
                assert f"ecs-{stage.ecs.tasks[0].facts.id}-1" in told
                action.cancel()
                assert await run == "cancelled"
                assert action.outputs["task_id"] == stage.ecs.tasks[0].arn
            await stage.check_nothing_left()

    play(scene())


def test_two_steps_and_two_jobs_of_a_matrix_have_runners_of_their_own(aws):
    """Steps of other names, of the same name in one composite action, and matrix legs."""

    async def scene():
        async with open_stage(aws) as stage:
            first, second = make_job(stage, "a"), make_job(stage, "b")
            first.environ["GITHUB_JOB"] = second.environ["GITHUB_JOB"] = "pre-job"
            second.job_index = 1
            labels = []
            for job, name in ((first, "one"), (first, "one"), (first, "two"), (second, "one")):
                action = start(job, name)
                assert await action.run(**inputs(wait="false")) == "success", text_of(job)
                labels.append(action.outputs["label"])
            assert len(set(labels)) == len(stage.ecs.tasks) == 4
            for label in labels:
                await stage.wait_for_job(stage.queue_job(label))
            await stage.check_nothing_left()

    play(scene())


# --- it fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "timeout"), [("RESOURCE:MEMORY", "12"), (ecs.NO_CAPACITY, "12"), ("INACTIVE", "60")]
)
def test_a_task_that_ecs_does_not_place_fails_the_step_with_the_reason(aws, reason, timeout):
    """Want of capacity until the time-out; what waiting cannot help at once."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.droughts = [ecs.Drought(reason=reason)]
            job = make_job(stage)
            action = start(job)
            assert await action.run(**inputs(timeout=timeout)) == "failure"
            assert any(kind == "error" and reason in text for kind, text in job.annotations)
            assert reason.replace("_", "\\_") in job.summary
            assert action.ran == ["Install the launcher", "Start the runners"]
            await stage.check_nothing_left()

    play(scene())


def test_if_one_of_three_is_not_placed_none_stays(aws):
    """All or none: the two that started are stopped."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.droughts = [ecs.Drought(reason="INACTIVE", skip=2)]
            job = make_job(stage)
            assert await start(job).run(**inputs(count="3")) == "failure"
            assert len(stage.ecs.tasks) == 2
            await stage.check_nothing_left()

    play(scene())


def test_all_mistakes_are_told_at_once(aws):
    """By the names of the inputs; nothing is started, and nothing is there to clean up."""

    async def scene():
        async with open_stage(aws) as stage:
            job = make_job(stage)
            action = start(job)
            wrong = {"cluster": "", "count": "no", "wait_for": "ever", "github_pat": ""}
            assert await action.run(**inputs(**wrong)) == "failure"
            errors = [text for kind, text in job.annotations if kind == "error"]
            for name in ("cluster", "count", "wait_for", "github_pat"):
                assert any(name in error for error in errors), errors
            assert not any("LAUNCHER_" in error for error in errors)
            assert stage.ecs.requests == []
            assert action.ran == ["Install the launcher", "Start the runners"]

    play(scene())


# --- cancelled ----------------------------------------------------------------------------------


async def begun(stage, action):
    """Wait until the work begins: nothing was asked yet."""
    await action.wait_for_text("Starting 2 runners")


async def asked(stage, action):
    """Wait until ECS has two tasks; its answers never come."""
    await stage.ecs.wait_for(lambda: len(stage.ecs.tasks) == 2)


async def placed(stage, action):
    """Wait until there is a task that has no token."""
    await action.wait_for_text("is started")


async def waiting(stage, action):
    """Wait until it waits for its runners, one of which has its token."""
    await action.wait_for_text("has its token")


INTERRUPT = SIGNALS
TERMINATE = ((signal.SIGTERM, 30.0),)
BOTH = ((signal.SIGINT, 0.01), (signal.SIGTERM, 30.0))
KILL = ((signal.SIGKILL, 30.0),)


@pytest.mark.parametrize(
    ("reached", "signals"),
    [
        (begun, INTERRUPT),
        (begun, KILL),
        (asked, TERMINATE),
        (asked, KILL),
        (placed, INTERRUPT),
        (placed, KILL),
        (waiting, BOTH),
        (waiting, KILL),
    ],
)
def test_a_cancelled_workflow_leaves_nothing(aws, reached, signals):
    """By whichever signal, at whatever point: no task, no runner and no token is left."""

    async def scene():
        async with open_stage(aws) as stage:
            if reached is asked:
                stage.front.add(Rule("hang", target="RunTask", forward=True, times=2))
            if reached is waiting:
                stage.ecs.may_run.clear()
            job = make_job(stage)
            action = start(job)
            action.signals = signals
            async with running(action, **inputs(count="2")) as run:
                await reached(stage, action)
                action.cancel()
                assert await run == "cancelled", text_of(job)
            await stage.check_nothing_left()
            if signals is KILL:
                assert "Clean up what a killed start has left" in action.ran

    play(scene())


def test_what_a_dead_machine_leaves_is_stopped_by_its_label(aws):
    """Without the step that cleans up a kill leaves tasks and tokens; `stop` finds them."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.may_run.clear()
            action = start(make_job(stage))
            action.signals = KILL
            action.document["runs"]["steps"].pop()
            async with running(action, **inputs(count="2")) as run:
                await waiting(stage, action)
                action.cancel()
                assert await run == "cancelled"
            assert len(stage.ecs.living()) == 2
            assert await stage.find_parameters()
            last = stop(make_job(stage, "last"))
            same = {name: inputs()[name] for name in ("github_pat", "cluster", "parameter_prefix")}
            assert await last.run(label=action.outputs["label"], **same) == "success"
            await stage.check_nothing_left()

    play(scene())
