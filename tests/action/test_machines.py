"""The action and the command that start runners on machines, end to end: an EC2, real agents."""

import json
import signal

import pytest

from local import ec2
from local.composite import running
from local.faults import Rule
from local.stage import PAT
from tests.action.jobs import make_job, play, queue_job, stop, text_of
from tests.action.machines import AGENT, SAME, TEMPLATE, open_machines, start
from tests.launches.stage import PREFIX

TERMINATE = ((signal.SIGTERM, 30.0),)
KILL = ((signal.SIGKILL, 30.0),)
NO_TASKS = {"cluster": "", "task_definition": ""}


# --- all goes well ------------------------------------------------------------------------------


def test_a_job_runs_on_the_machine_that_was_started_for_it(aws):
    """The inputs of the EC2 system; its agent finds the token by a tag; no secret is told."""

    async def scene():
        async with open_machines(aws) as stage:
            job = make_job(stage)
            region = job.environ.pop("AWS_REGION")
            action = start(job)
            more = {"aws-region": region, "instance-name": "ci 1", "user-data": "user-data.sh"}
            assert await action.run(**SAME, **more) == "success", text_of(job)
            (machine,) = stage.ec2.machines
            assert machine.user_data == AGENT
            assert machine.behaviour == "terminate"
            assert machine.tags["Name"] == "ci 1"
            assert machine.tags["SIDECAR_TOKEN_PARAMETER"] == f"{PREFIX}/{{instance}}"
            outputs = action.outputs
            assert outputs["instance-id"] == machine.id
            assert json.loads(outputs["instance-ids"]) == [machine.id]
            assert json.loads(outputs["labels"]) == ["self-hosted", outputs["label"]]
            assert f"1 of 1 runners are online: ecs-{machine.id}-1" in text_of(job)
            summary = job.summary.replace("\\", "")
            assert "| runner | machine | state | reason |" in summary
            assert f"| ecs-{machine.id}-1 | {machine.id} | online |" in summary
            told = "\n".join(job.raw) + json.dumps(outputs) + job.summary
            told += "".join(path.read_text() for path in job.temp.glob("*.json"))
            secrets = [PAT, *(token.value for token in stage.github.world.tokens)]
            assert [secret for secret in secrets if secret in told] == []
            await stage.wait_for_job(queue_job(stage, job.job_output(outputs["labels"])))
            await stage.check_nothing_left()
            assert "the agent has ended with exit code 0" in machine.console

    play(scene())


def test_the_command_starts_machines_and_stops_what_nobody_uses(aws):
    """Without room for Spot it asks on demand; a second start of the key starts nothing."""

    async def scene():
        async with open_machines(aws) as stage:
            stage.ec2.droughts = [ec2.Drought(capacity="spot")]
            given = {
                **NO_TASKS,
                "launch_template": "runner",
                "capacity_providers": "spot,on-demand",
            }
            order = "start", "--labels", "build", "--key", "k", "--count", "2"
            for _ in range(2):
                code, launcher = await stage.run(*order, **given)
                assert code == 0, launcher.transcript()
            assert [each.capacity for each in stage.ec2.machines] == ["on-demand"] * 2
            assert [each.user_data for each in stage.ec2.machines] == ["", ""]
            await stage.wait_for_job(stage.queue_job("build"))
            code, launcher = await stage.run("stop", "--key", "k", **given)
            assert code == 0, launcher.transcript()
            await stage.check_nothing_left()

    play(scene())


# --- it fails -----------------------------------------------------------------------------------


def test_a_machine_that_ends_too_early_says_why(aws):
    """Its console's last lines are in the log; three tries are enough, and nothing stays."""

    async def scene():
        async with open_machines(aws) as stage:
            job = make_job(stage)
            action = start(job)
            (job.workspace / "user-data.sh").write_text("#!/bin/sh\necho no agent here\nexit 3\n")
            assert await action.run(**SAME, **{"user-data": "user-data.sh"}) == "failure"
            assert len(stage.ec2.machines) == 3
            shown = [text for kind, text in job.annotations if "says last: no agent here" in text]
            assert len(shown) == 3, text_of(job)
            assert action.outputs["instance-id"] == ""
            await stage.check_nothing_left()

    play(scene())


def test_a_machine_that_hangs_is_taken_back(aws):
    """At the time-out; its console is shown."""

    async def scene():
        async with open_machines(aws) as stage:
            job = make_job(stage)
            stage.may_boot.clear()
            assert await start(job).run(**SAME, timeout="3") == "failure"
            errors = " ".join(text for kind, text in job.annotations if kind == "error")
            assert "(timeout)" in errors
            is_placed = "is started" in text_of(job)  # not on a machine that is very busy
            assert ("says last: nothing" in errors) is is_placed
            await stage.check_nothing_left()

    play(scene())


def test_no_room_is_waited_for_and_said(aws):
    """With EC2's own reason; who cancels meanwhile leaves nothing."""

    async def scene():
        async with open_machines(aws) as stage:
            stage.ec2.droughts = [ec2.Drought()]
            job = make_job(stage)
            action = start(job)
            async with running(action, **SAME) as run:
                await action.wait_for_text("No machine yet, asking again")
                action.cancel()
                assert await run == "cancelled", text_of(job)
            warnings = [text for kind, text in job.annotations if kind == "warning"]
            assert any("InsufficientInstanceCapacity" in text for text in warnings)
            assert stage.ec2.machines == []
            await stage.check_nothing_left()

    play(scene())


def test_all_mistakes_are_told_at_once(aws):
    """By the names of the inputs, before anything is asked for."""

    async def scene():
        async with open_machines(aws) as stage:
            job = make_job(stage)
            action = start(job)
            (job.workspace / "secret.sh").write_text(f"#!/bin/sh\nTOKEN=ghp_{'a' * 36}\n")
            wrong = {"task_definition": "runner", "user-data": "secret.sh", "aws-region": "here"}
            assert await action.run(**SAME, **wrong) == "failure"
            errors = sorted(text for kind, text in job.annotations if kind == "error")
            names = [error.split()[0] for error in errors]
            assert names == ["aws-region", "task_definition"], errors
            job.annotations.clear()
            assert await start(job).run(**SAME, **{"user-data": "secret.sh"}) == "failure"
            ((_, error),) = job.annotations
            assert error.startswith("user-data holds what looks like a secret in line 2")
            assert "ghp_" not in text_of(job)
            assert stage.ec2.requests == []

    play(scene())


@pytest.mark.parametrize(
    ("template", "words"),
    [("lt-0000000000", "(launch-template-id)"), (TEMPLATE, "(network)")],
)
def test_a_refusal_of_ec2_names_the_input(aws, template, words):
    """As far as EC2's answer says what is meant; nothing is left."""

    async def scene():
        async with open_machines(aws) as stage:
            job = make_job(stage)
            inputs = {**SAME, "launch-template-id": template, "network": "subnet-99999999"}
            assert await start(job).run(**inputs) == "failure"
            assert any(words in text for kind, text in job.annotations if kind == "error")
            await stage.check_nothing_left()

    play(scene())


# --- cancelled ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("reached", "signals"), [("asked", TERMINATE), ("waiting", KILL)])
def test_a_cancelled_workflow_leaves_nothing(aws, reached, signals):
    """If an answer of EC2 is lost, and where the step itself is killed; outputs are there."""

    async def scene():
        async with open_machines(aws) as stage:
            stage.may_boot.clear()
            if reached == "asked":
                stage.front_of_ec2.add(Rule("hang", target="RunInstances", forward=True, times=1))
            job = make_job(stage)
            action = start(job)
            action.signals = signals
            async with running(action, **SAME) as run:
                if reached == "asked":
                    await stage.ec2.wait_for(lambda: stage.ec2.machines)
                else:
                    await action.wait_for_text("has its token")
                    told = job.find_file("output", "label=")
                    assert f"instance-id={stage.ec2.machines[0].id}\n" in told
                    assert 'labels=["self-hosted", "run-4711-' in told
                action.cancel()
                assert await run == "cancelled", text_of(job)
            await stage.check_nothing_left()
            assert len(stage.ec2.machines) == 1
            assert (action.ran[-1] == "Clean up what a killed start has left") == (signals is KILL)

    play(scene())


def test_what_a_dead_machine_leaves_is_stopped_by_its_label(aws):
    """Without the step that cleans up a kill leaves a machine and its token; `stop` finds them."""

    async def scene():
        async with open_machines(aws) as stage:
            stage.may_boot.clear()
            action = start(make_job(stage))
            action.signals = KILL
            action.document["runs"]["steps"].pop()
            async with running(action, **SAME) as run:
                await action.wait_for_text("has its token")
                action.cancel()
                assert await run == "cancelled"
            assert len(stage.ec2.living()) == 1
            last = stop(make_job(stage, "last"))
            assert await last.run(label=action.outputs["label"], **SAME) == "success"
            await stage.check_nothing_left()

    play(scene())
