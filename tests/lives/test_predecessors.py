"""A container that is started again where its agent was killed: nothing of either stays."""

import json
import os
import signal

import pytest

from tests.failures.front import HURRIED, PAT, fronted, template
from tests.lives.stage import played

IDLE = {"SIDECAR_IDLE_LIMIT": "1"}
BY_PAT = {"SIDECAR_TOKEN_PARAMETER": None, "SIDECAR_GITHUB_PAT": PAT}


async def killed(stage, env, event="runner.started"):
    """Live until `event`, then end as a container does whose time is up."""
    async with stage.life(HURRIED, env={**IDLE, **env}) as life:
        await life.event(event)
        os.kill(life.pid, signal.SIGKILL)
        stage.sweep()
        await life.ended()
    return next(iter(stage.world.runners), None)


@pytest.mark.parametrize(
    ("env", "rung"), [({}, "registration-token"), (BY_PAT, "api")], ids=["token", "pat"]
)
def test_the_runner_of_a_killed_agent_is_taken_away_first(aws, env, rung):
    """With the token or a credential in hand it goes before the new one comes."""

    async def play():
        async with fronted(aws, template()) as stage:
            await stage.put()
            left = await killed(stage, env)
            if not env:
                await stage.put()  # that it was deleted by then, or not, is not looked at here
            else:
                await stage.aws_call("DeleteParameter", Name=stage.parameter)
            async with stage.life(HURRIED, env={**IDLE, **env}) as life:
                await stage.settled(life, 18)
            (found,) = life.all("killed_agent.found")
            assert (found["name"], found["runner_id"]) == (left.name, left.id)
            assert life.all("runner.deregistered")[0]["rung"] == rung
            assert not (stage.root / ".sidecar-memory").exists()

    played(play())


def test_a_token_that_was_read_and_not_deleted_serves_again(aws):
    """Killed between reading and deleting: the successor reads the same parameter."""

    async def play():
        async with fronted(aws, template()) as stage:
            await stage.put()
            await killed(stage, {}, "token.read")
            assert await stage.held() is not None
            async with stage.life(HURRIED, env=IDLE) as life:
                await stage.settled(life, 18)

    played(play())


def test_without_token_or_credential_the_log_says_who_stays(aws):
    """The token is gone with the killed agent: nobody here can remove its runner."""

    async def play():
        async with fronted(aws, template()) as stage:
            await stage.put()
            left = await killed(stage, {}, "token.deleted")
            async with stage.life(HURRIED, env={"SIDECAR_TOKEN_TIMEOUT": "1"}) as life:
                assert await life.ended() == 12
            (failed,) = life.all("cleanup.failed")
            assert failed["undo"] == "predecessor"
            assert left.name in failed["reason"]
            assert "one day" in failed["reason"]

    played(play())


def test_a_job_cannot_say_which_runner_was_left(aws):
    """What the job wrote into `.runner` is not obeyed: the agent's own copy is."""

    async def play():
        async with fronted(aws, template()) as stage:
            await stage.put()
            left = await killed(stage, BY_PAT)
            settings = json.loads((stage.root / ".runner").read_text("utf-8-sig"))
            (stage.root / ".runner").write_text(json.dumps({**settings, "agentId": 4711}))
            await stage.aws_call("DeleteParameter", Name=stage.parameter)
            async with stage.life(HURRIED, env={**IDLE, **BY_PAT}) as life:
                await stage.settled(life, 18)
            assert life.all("killed_agent.found")[0]["runner_id"] == left.id

    played(play())


def test_a_registration_that_was_cut_by_the_kill_is_taken_over(aws):
    """GitHub has the runner, nobody its keys: by its name, which only it can bear, it goes."""

    async def play():
        async with fronted(aws, template()) as stage:
            await stage.put()
            stage.world.faults.add({"call": "runner-add", "after": True, "hang": True})
            async with stage.life(HURRIED, env=IDLE) as life:
                await stage.until(lambda: list(stage.world.runners), "the runner")
                os.kill(life.pid, signal.SIGKILL)
                stage.sweep()
                await life.ended()
            async with stage.life(HURRIED, env=IDLE) as life:
                await stage.settled(life, 18)
            assert life.all("killed_agent.found")[0]["runner_id"] is None
            assert life.all("runner.name_taken") == []

    played(play())
