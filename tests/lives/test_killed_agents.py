"""Start a container again after its agent was killed: nothing of either agent is left."""

import json
import os
import signal

import pytest

from tests.failures.stage import HURRIED, PAT, open_stage
from tests.lives.stage import run_side_by_side

PATIENT = {"CONFIGURE_TIMEOUT": "60"}
"""Else a configure that a busy machine holds up is killed, and its runner registered twice."""
IDLE = {**PATIENT, "SIDECAR_IDLE_LIMIT": "1"}
BY_PAT = {"SIDECAR_TOKEN_PARAMETER": None, "SIDECAR_GITHUB_PAT": PAT}


async def kill_agent(stage, env, event="runner.started"):
    """Run an agent until `event`, then kill it with all of its processes, as a container is.

    It has no idle limit: else it might remove its runner before the kill.
    """
    async with stage.life(HURRIED, env={**PATIENT, **env}) as life:
        await life.wait_for_event(event)
        os.kill(life.pid, signal.SIGKILL)
        stage.kill_processes()
        await life.wait_for_end()
    return next(iter(stage.world.runners), None)


@pytest.mark.parametrize(
    ("env", "rung"), [({}, "registration-token"), (BY_PAT, "api")], ids=["token", "pat"]
)
def test_the_runner_of_a_killed_agent_is_removed_first(aws, env, rung):
    """With a token or a credential the old runner is removed before the new one is registered."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            left = await kill_agent(stage, env)
            if not env:
                await stage.put()  # the killed agent may have deleted it or not
            else:
                await stage.call_ssm("DeleteParameter", Name=stage.parameter)
            async with stage.life(HURRIED, env={**IDLE, **env}) as life:
                await stage.check_end(life, 18)
            (found,) = life.find_events("killed_agent.found")
            assert (found["name"], found["runner_id"]) == (left.name, left.id)
            assert life.find_events("runner.deregistered")[0]["rung"] == rung
            assert not (stage.runner_folder / ".sidecar-memory").exists()

    run_side_by_side(play())


def test_a_token_that_was_read_but_not_deleted_is_used_again(aws):
    """After a kill between reading and deleting, the next agent reads the same parameter."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            await kill_agent(stage, {}, "token.read")
            assert await stage.read_parameter() is not None
            async with stage.life(HURRIED, env=IDLE) as life:
                await stage.check_end(life, 18)

    run_side_by_side(play())


def test_without_token_or_credential_the_log_names_the_runner_that_stays(aws):
    """The token is gone with the killed agent: nobody here can remove its runner."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            left = await kill_agent(stage, {}, "token.deleted")
            async with stage.life(HURRIED, env={"SIDECAR_TOKEN_TIMEOUT": "1"}) as life:
                assert await life.wait_for_end() == 12
            (failed,) = life.find_events("cleanup.failed")
            assert failed["undo"] == "predecessor"
            assert left.name in failed["reason"]
            assert "one day" in failed["reason"]

    run_side_by_side(play())


def test_a_job_cannot_choose_which_runner_is_removed(aws):
    """The agent uses its own copy of the runner's number, not what a job wrote into `.runner`."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            left = await kill_agent(stage, BY_PAT)
            settings = json.loads((stage.runner_folder / ".runner").read_text("utf-8-sig"))
            # The folder is sticky: Linux may refuse even root to open another's file as a new one.
            with (stage.runner_folder / ".runner").open("r+") as file:
                file.truncate()
                json.dump({**settings, "agentId": 4711}, file)
            await stage.call_ssm("DeleteParameter", Name=stage.parameter)
            async with stage.life(HURRIED, env={**IDLE, **BY_PAT}) as life:
                await stage.check_end(life, 18)
            assert life.find_events("killed_agent.found")[0]["runner_id"] == left.id

    run_side_by_side(play())


def test_a_second_kill_loses_no_runner(aws):
    """While the first runner cannot be removed, a second agent is killed: both are removed."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            first = await kill_agent(stage, {})
            stage.world.faults.add({"call": "runner-delete", "count": -1, "status": 403})
            stage.misbehave(remove="fail")
            await stage.put()
            env = {**PATIENT, "SIDECAR_LABELS": "other"}
            async with stage.life(HURRIED, env=env) as life:
                await life.wait_for_event("runner.started")
                os.kill(life.pid, signal.SIGKILL)
                stage.kill_processes()
                await life.wait_for_end()
            assert len(list(stage.world.runners)) == 2
            stage.world.faults.clear()
            await stage.put()
            async with stage.life(HURRIED, env={**IDLE, **env}) as life:
                await stage.check_end(life, 18)
            found = [event["runner_id"] for event in life.find_events("killed_agent.found")]
            assert len(found) == 2
            assert found[1] == first.id
            assert not (stage.runner_folder / ".sidecar-memory").exists()

    run_side_by_side(play())


def test_a_registration_that_the_kill_interrupted_is_removed(aws):
    """GitHub has the runner, nobody has its keys: it is found by its unique name and removed."""

    async def play():
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "runner-add", "after": True, "hang": True})
            async with stage.life(HURRIED, env=PATIENT) as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                os.kill(life.pid, signal.SIGKILL)
                stage.kill_processes()
                await life.wait_for_end()
            async with stage.life(HURRIED, env=IDLE) as life:
                await stage.check_end(life, 18)
            assert life.find_events("killed_agent.found")[0]["runner_id"] is None
            assert life.find_events("runner.name_taken") == []

    run_side_by_side(play())
