"""Runners that are started from the command line, end to end: real processes on both sides."""

import asyncio
import json
import signal

import pytest

from local import ecs, ssm
from local.faults import Rule
from tests.launches.stage import open_stage

ORDER = ("start", "--labels", "self-hosted,build")
FARGATE = {"capacity_providers": "FARGATE_SPOT,FARGATE", "subnets": "subnet-0"}


def play(scene, timeout=150):
    """Run one scene."""
    asyncio.run(asyncio.wait_for(scene, timeout))


# --- all goes well ------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "just_in_time"), [(1, "true"), (3, "false")])
def test_as_many_runners_come_online_as_were_asked_for(aws, count, just_in_time):
    """Each runs one job; then nothing is left in SSM, ECS and GitHub."""

    async def scene():
        async with open_stage(aws) as stage:
            code, launcher = await stage.run(
                *ORDER, "--count", str(count), just_in_time=just_in_time
            )
            assert code == 0, launcher.transcript()
            runners = list(stage.github.world.runners)
            assert len(runners) == len(stage.ecs.tasks) == count
            assert all(stage.github.world.online(runner) for runner in runners)
            for runner, task in zip(
                sorted(runners, key=lambda each: each.name),
                sorted(stage.ecs.tasks, key=lambda each: each.facts.id),
                strict=True,
            ):
                assert runner.name == f"ecs-{task.facts.id}-1"
                assert [label.name for label in runner.labels] == ["self-hosted", "build"]
            done = launcher.last_event("start.done")
            assert sorted(done["tasks"]) == sorted(task.arn for task in stage.ecs.tasks)
            assert sorted(done["runners"]) == sorted(runner.name for runner in runners)
            for job in [stage.queue_job("self-hosted", "BUILD") for _ in range(count)]:
                await stage.wait_for_job(job)
            await stage.check_nothing_left()
            assert [task.exit_code for task in stage.ecs.tasks] == [0] * count
            tokens = [token.value for token in stage.github.world.tokens]
            assert not any(token in launcher.text for token in tokens)

    play(scene())


def test_a_second_order_of_the_same_key_starts_nothing(aws):
    """The key makes the order known: what lives is taken over, its token too."""

    async def scene():
        async with open_stage(aws) as stage:
            for _ in range(2):
                code, launcher = await stage.run(*ORDER, "--key", "run-1")
                assert code == 0, launcher.transcript()
            assert len(stage.ecs.tasks) == len(list(stage.github.world.runners)) == 1
            code, launcher = await stage.run("stop", "--key", "run-1")
            assert code == 0, launcher.transcript()
            await stage.check_nothing_left()

    play(scene())


def test_a_stop_leaves_a_runner_that_has_a_job(aws):
    """What nobody uses is stopped; a job is never cut."""

    async def scene():
        async with open_stage(aws) as stage:
            code, launcher = await stage.run(*ORDER, "--key", "k", "--count", "2")
            assert code == 0, launcher.transcript()
            gate = stage.folder / "gate"
            wait = f"while [ ! -e {gate} ]; do sleep 0.05; done"
            job = stage.github.world.jobs.add(
                {"labels": ["build"], "steps": [{"run": wait}]}, stage.github.world.now()
            )
            busy = await stage.github.world.changes.until(
                lambda: [each for each in stage.github.world.runners if each.busy] or None, 30
            )
            code, launcher = await stage.run("stop", "--key", "k")
            assert code == 0, launcher.transcript()
            assert [each.name for each in stage.github.world.runners] == [busy[0].name]
            assert launcher.find_events("launch.kept")
            gate.touch()
            await stage.wait_for_job(job)
            await stage.check_nothing_left()

    play(scene())


# --- no capacity --------------------------------------------------------------------------------


def test_the_next_capacity_provider_is_asked(aws):
    """In the order of the setting, each with a client token of its own."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.droughts = [ecs.Drought("FARGATE_SPOT")]
            code, launcher = await stage.run(*ORDER, **FARGATE)
            assert code == 0, launcher.transcript()
            first, second = stage.ecs.asked("RunTask", once=True)
            assert first["clientToken"] != second["clientToken"]
            assert [task.where for task in stage.ecs.tasks] == ["FARGATE"]
            await stage.wait_for_job(stage.queue_job("build"))
            await stage.check_nothing_left()

    play(scene())


def test_no_capacity_is_waited_out_by_a_new_round(aws):
    """The same token would answer the same refusal for ever."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.droughts = [ecs.Drought(times=2)]
            code, launcher = await stage.run(*ORDER, "--wait", "running")
            assert code == 0, launcher.transcript()
            assert len({each["clientToken"] for each in stage.ecs.asked("RunTask")}) == 3
            delays = launcher.find_events("task.delayed", why="capacity")
            assert [ecs.NO_CAPACITY in each["reason"] for each in delays] == [True, True]
            await stage.wait_for_job(stage.queue_job("build"))
            await stage.check_nothing_left()

    play(scene())


def test_no_capacity_until_the_time_out_fails_with_the_reason(aws):
    """As many as were asked for or none: the one that had a task is stopped."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.droughts = [ecs.Drought(skip=1)]
            code, launcher = await stage.run(*ORDER, "--count", "2", "--timeout", "15")
            assert code == 13, launcher.transcript()
            assert ecs.NO_CAPACITY in launcher.last_event("start.failed")["reason"]
            assert len(stage.ecs.tasks) == 1
            await stage.check_nothing_left()

    play(scene())


# --- tasks that end too early -------------------------------------------------------------------


def test_a_task_that_ends_before_it_registers_has_a_successor(aws):
    """Its token is deleted, the reason is said, and another task is started."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.failing_starts = [ecs.CANNOT_PULL]
            code, launcher = await stage.run(*ORDER)
            assert code == 0, launcher.transcript()
            (failed,) = launcher.find_events("task.failed")
            assert failed["reason"] == f"TaskFailedToStart: {ecs.CANNOT_PULL}; no exit code"
            assert len(stage.ecs.tasks) == 2
            await stage.wait_for_job(stage.queue_job("build"))
            await stage.check_nothing_left()

    play(scene())


def test_three_tasks_that_end_too_early_are_enough(aws):
    """The last reason holds the agent's own exit code and what it means."""

    async def scene():
        async with open_stage(aws, work_dir="-wrong") as stage:
            code, launcher = await stage.run(*ORDER)
            assert code == 14, launcher.transcript()
            assert [task.exit_code for task in stage.ecs.tasks] == [11, 11, 11]
            reason = launcher.last_event("start.failed")["reason"]
            assert "exit code 11" in reason
            assert "a setting" in reason
            await stage.check_nothing_left()

    play(scene())


# --- refusals and lost answers ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cluster": "none"}, "LAUNCHER_CLUSTER"),
        ({"task_definition": "none"}, "LAUNCHER_TASK_DEFINITION"),
        ({"github_pat": "ghp_wrong"}, "LAUNCHER_GITHUB_PAT"),
    ],
)
def test_a_refusal_names_what_to_change(aws, settings, words):
    """It is final, and nothing is left."""

    async def scene():
        async with open_stage(aws) as stage:
            code, launcher = await stage.run(*ORDER, **settings)
            failed = launcher.last_event("start.failed")
            assert words in failed["reason"], launcher.transcript()
            await stage.ecs.wait_for(lambda: stage.ecs.living() == [])
            assert await stage.find_parameters() == []
            assert code == 12

    play(scene())


def test_an_answer_that_was_lost_is_asked_for_again(aws):
    """RunTask was carried out and its answer lost: the same request finds the task."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.front.add(Rule("close", target="RunTask", forward=True, times=1))
            code, launcher = await stage.run(*ORDER, "--wait", "running")
            assert code == 0, launcher.transcript()
            assert len(stage.ecs.asked("RunTask")) >= 2
            assert len(stage.ecs.asked("RunTask", once=True)) == 1
            assert len(stage.ecs.tasks) == 1
            await stage.wait_for_job(stage.queue_job("build"))
            await stage.check_nothing_left()

    play(scene())


def test_access_is_denied_until_the_token_is_there(aws):
    """A policy by tag: the agent takes the refusal of its own name for "not yet"."""

    async def scene():
        async with open_stage(aws) as stage:
            rule = Rule("status", target="GetParameter", error="AccessDeniedException", times=2)
            stage.ssm.add(rule)
            code, launcher = await stage.run(*ORDER)
            assert code == 0, launcher.transcript()
            assert stage.ecs.tasks[0].process.find_events("token.awaited")
            await stage.wait_for_job(stage.queue_job("build"))
            await stage.check_nothing_left()

    play(scene())


# --- interrupted --------------------------------------------------------------------------------


async def begun(stage, launcher):
    """Wait until the work begins: nothing was asked yet."""
    await launcher.wait_for_event("start.begun")


async def asked(stage, launcher):
    """Wait until ECS has two tasks; its answers never come."""
    await stage.ecs.wait_for(lambda: len(stage.ecs.tasks) == 2)


async def placed(stage, launcher):
    """Wait until there is a task that has no token."""
    await launcher.wait_for_event("task.placed")


async def written(stage, launcher):
    """Wait until the token is there, while its task does not run yet."""
    await launcher.wait_for_event("token.handed_over")


async def registering(stage, launcher):
    """Wait until an agent registers its runner."""
    await stage.ecs.wait_for(lambda: [task for task in stage.ecs.tasks if task.process])
    process = next(task.process for task in stage.ecs.tasks if task.process)
    await process.wait_for_phase("configuring")


@pytest.mark.parametrize(
    ("reached", "number", "just_in_time"),
    [
        (begun, signal.SIGTERM, "true"),
        (asked, signal.SIGINT, "true"),
        (placed, signal.SIGTERM, "true"),
        (written, signal.SIGINT, "true"),
        (written, signal.SIGTERM, "false"),
        (registering, signal.SIGTERM, "false"),
        (registering, signal.SIGINT, "true"),
    ],
)
def test_an_interrupted_start_takes_back_what_it_started(aws, reached, number, just_in_time):
    """At whatever point: no task, no runner and no token is left."""

    async def scene():
        async with open_stage(aws) as stage:
            if reached is asked:
                stage.front.add(Rule("hang", target="RunTask", forward=True, times=2))
            if reached is written:
                stage.ecs.may_run.clear()
            async with stage.launcher(
                *ORDER, "--count", "2", just_in_time=just_in_time
            ) as launcher:
                await reached(stage, launcher)
                launcher.signal(number)
                assert await launcher.wait_for_end() == 16, launcher.transcript()
            await stage.check_nothing_left()

    play(scene())


def test_what_a_kill_leaves_is_stopped_by_its_key(aws):
    """SIGKILL lets nothing be cleaned up; the printed key finds all of it."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.may_run.clear()
            async with stage.launcher(*ORDER, "--count", "2") as launcher:
                await launcher.wait_for_event("token.handed_over", count=2)
                launcher.signal(signal.SIGKILL)
                await launcher.wait_for_end()
            key = launcher.last_event("start.begun")["key"]
            assert len(await stage.find_parameters()) == 2
            stage.ecs.may_run.set()
            code, launcher = await stage.run("stop", "--key", key)
            assert code == 0, launcher.transcript()
            await stage.check_nothing_left()

    play(scene())


def test_the_parameter_tells_an_orphan_by_its_tags(aws):
    """Deployment, order, launch and task are tags of it; they hold no secret."""

    async def scene():
        async with open_stage(aws) as stage:
            stage.ecs.may_run.clear()
            code, launcher = await stage.run(
                *ORDER, "--wait", "none", "--key", "k", just_in_time="false"
            )
            assert code == 0, launcher.transcript()
            (name,) = await stage.find_parameters()
            (task,) = stage.ecs.tasks
            tagged = await asyncio.to_thread(
                ssm.call,
                stage.moto,
                "ListTagsForResource",
                ResourceType="Parameter",
                ResourceId=name,
            )
            tags = {tag["Key"]: tag["Value"] for tag in tagged["TagList"]}
            assert tags == {**task.tags, "runner-launcher:task": task.facts.id}
            document = json.loads(await asyncio.to_thread(ssm.read, stage.moto, name))
            assert document["name"] == f"ecs-{task.facts.id}-1"
            assert set(document) == {"url", "token", "name", "labels", "no_default_labels"}
            code, launcher = await stage.run("stop", "--key", "k")
            assert code == 0, launcher.transcript()
            await stage.check_nothing_left()

    play(scene())
