"""Play whole lives on Windows: a genuine Windows Python runs the agent, under wine.

The runner's stand-in runs there as well; AWS, the ECS agent and GitHub run on this machine.
`Stage.check_end` checks what must be true after each life.
"""

from __future__ import annotations

import pytest

from tests.lives.stage import read_output, run_side_by_side
from tests.windows.life import LISTENER, WORKER
from tests.windows.wine import CTRL_BREAK

BUDGET = "25"
"""A stop timeout, in seconds, in which a job is interrupted at once, and has long to end."""
CONFIGURATION = (".runner", ".credentials", ".credentials_rsaparams")


on_both_pythons = pytest.mark.parametrize("open_one", ["3.11", "3.13"], indirect=True)
again = pytest.mark.again


@on_both_pythons
def test_a_job_that_ends_ends_the_life(aws, open_one):
    """Exit 0; both hooks were heard; the token, the runner and every process are gone."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            job = stage.job("echo hello", "echo from the second step")
            async with stage.start_agent() as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "hello\n" in read_output(job)
            assert "from the second step\n" in read_output(job)
            assert life.find_events("job.started")
            assert life.find_events("job.completed")
            assert not any((stage.runner_folder / name).exists() for name in CONFIGURATION)

    run_side_by_side(play())


def test_a_stop_while_waiting_for_the_token(aws, open_one):
    """CTRL_SHUTDOWN before there is a token: exit 16, GitHub was never asked anything."""

    async def play():
        async with open_one(aws) as stage:
            async with stage.start_agent() as life:
                await stage.ssm.reached(target="GetParameter")
                stage.stop_container(life)
                await stage.check_end(life, 16)
            assert not stage.world.calls
            check_budget(life)

    run_side_by_side(play())


def check_budget(life):
    """Check that it ended well within the stop timeout of 30 s, which was not used up."""
    assert life.stop_seconds < 30


def test_a_stop_while_configuring_removes_the_runner(aws, open_one):
    """CTRL_SHUTDOWN to agent and configure: whatever is at GitHub is removed; exit 16."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "runner-add", "after": True, "delay": 6.0})
            async with stage.start_agent() as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                stage.stop_container(life)
                await stage.check_end(life, 16)
            check_budget(life)

    run_side_by_side(play())


@pytest.mark.parametrize("who", [pytest.param("agent", marks=again), "container"])
def test_a_stop_while_idle_deregisters_the_runner(aws, open_one, who):
    """CTRL_SHUTDOWN while idle, to the agent alone or to all: exit 0, and nothing is left."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            async with stage.start_agent() as life:
                await life.wait_for_phase("idle")
                stop(stage, life, who)
                await stage.check_end(life, 0)
            check_budget(life)

    run_side_by_side(play())


def stop(stage, life, who):
    """Stop the agent alone, or all that has a console."""
    if who == "agent":
        stage.stop_agent(life)
    else:
        stage.stop_container(life)


@pytest.mark.parametrize("open_one", ["3.11", pytest.param("3.13", marks=again)], indirect=True)
@pytest.mark.parametrize("who", ["agent", "container"])
def test_a_stop_while_busy_cancels_the_job(aws, open_one, who):
    """CTRL_SHUTDOWN while a job runs that does not end: exit 22, and nothing of it is left.

    A container's stop reaches the listener too, which cancels the job by itself at once.
    """

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, _ = stage.make_gate()
            job = stage.job(step)
            stage.misbehave(time_scale=0.1)
            async with stage.start_agent(env={"SIDECAR_STOP_TIMEOUT": BUDGET}) as life:
                await stage.wait_for_output(job, "at the gate")
                stop(stage, life, who)
                await stage.check_end(life, 22)
            assert life.stop_seconds < float(BUDGET)

    run_side_by_side(play())


@pytest.mark.parametrize("listeners_code", [0, pytest.param(143, marks=again)])
def test_whatever_a_stopped_listener_s_code_is_its_job_was_cancelled(aws, open_one, listeners_code):
    """A container's stop that the listener gets before the agent, while a job runs: exit 22."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, _ = stage.make_gate()
            job = stage.job(step)
            stage.misbehave(time_scale=0.1, sigterm_exit_code=listeners_code)
            async with stage.start_agent(env={"SIDECAR_STOP_TIMEOUT": BUDGET}) as life:
                await stage.wait_for_output(job, "at the gate")
                stage.stop_container(life, agent_last=True)
                await stage.check_end(life, 22)
            (ended,) = life.find_events("runner.ended")
            assert ended["code"] == listeners_code

    run_side_by_side(play())


@pytest.mark.parametrize(
    ("busy", "budget", "code", "left"),
    [(False, "30", 0, []), (True, "25", 22, ["runner"])],
    ids=["idle", "busy"],
)
def test_a_listener_that_cannot_be_interrupted_is_killed(aws, open_one, busy, budget, code, left):
    """Without a console no Ctrl-Break can be sent: idle it is killed, with a job it has its time.

    That is logged. Nobody tells GitHub of the job's end, so it keeps the runner for some minutes.
    """

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            if busy:
                step, _ = stage.make_gate()
                job = stage.job(step)
            else:  # it is not told that its registration is gone, and so does not end by itself
                stage.world.faults.add({"call": "runner-message", "count": -1, "hang": True})
            env = {"SIDECAR_STOP_TIMEOUT": budget}
            async with stage.start_agent(env, sends_break=False) as life:
                if busy:
                    await stage.wait_for_output(job, "at the gate")
                else:
                    await life.wait_for_phase("idle")
                stage.stop_agent(life)
                await stage.check_end(life, code, left=left)
            (failed,) = life.find_events("runner.interrupt_failed")
            assert failed["busy"] is busy

    run_side_by_side(play())


def test_a_stop_while_busy_lets_a_short_job_end(aws, open_one):
    """CTRL_SHUTDOWN to the agent alone while a job runs, and enough time: the job ends; exit 0."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, open_gate = stage.make_gate()
            job = stage.job(step, "echo the second step")
            async with stage.start_agent(env={"SIDECAR_STOP_TIMEOUT": "120"}) as life:
                await stage.wait_for_output(job, "at the gate")
                stage.stop_agent(life)
                await life.wait_for_event("stop.job_awaited")
                open_gate()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "the second step\n" in read_output(job)

    run_side_by_side(play())


def test_a_second_stop_cancels_the_job_at_once(aws, open_one):
    """Ctrl-Break twice while a job runs: the second one waits for no budget; exit 22."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, _ = stage.make_gate()
            job = stage.job(step)
            stage.misbehave(time_scale=0.1)
            async with stage.start_agent(env={"SIDECAR_STOP_TIMEOUT": "120"}) as life:
                await stage.wait_for_output(job, "at the gate")
                stage.stop_agent(life, CTRL_BREAK)
                await life.wait_for_event("stop.job_awaited")
                stage.stop_agent(life, CTRL_BREAK)
                await stage.check_end(life, 22)
            assert life.stop_seconds < 60

    run_side_by_side(play())


@pytest.mark.parametrize(
    "moment", ["before-listening", pytest.param("after-listening", marks=again), "in-job"]
)
def test_a_listener_that_crashes_is_cleaned_up_after(aws, open_one, moment):
    """It dies of an exception, as .NET does (0xE0434352): exit 15, the runner is deregistered."""

    async def play():
        async with open_one(aws) as stage:
            stage.misbehave(run=f"crash-{moment}")
            stage.world.settings.lost_after = 1.0  # then GitHub ends the lost job
            await stage.put()
            if moment == "in-job":
                step, _ = stage.make_gate()
                stage.job(step)
            async with stage.start_agent() as life:
                await stage.check_end(life, 15)
            (ended,) = life.find_events("runner.ended")
            assert ended["code"] == 0xE0434352

    run_side_by_side(play())


def test_nothing_survives_a_killed_agent(aws, open_one):
    """TerminateProcess while a job runs: all that it started ends; the next agent cleans up."""

    async def play():
        async with open_one(aws) as stage:
            await stage.put()
            step, _ = stage.make_gate()
            job = stage.job(step)
            async with stage.start_agent() as life:
                await stage.wait_for_output(job, "at the gate")
                assert {LISTENER, WORKER} <= {each.name for each in stage.wine.list_processes()}
                stage.wine.terminate(stage.find_agent().pid)
                await life.wait_for_end()
                assert stage.find_processes() == {}
            stage.give_up(job)
            await stage.wait_for(lambda: job.state == "completed", "the end of the lost job")
            await stage.put()
            async with stage.start_agent(env={"SIDECAR_IDLE_LIMIT": "1"}) as life:
                await stage.check_end(life, 18)
            assert life.find_events("killed_agent.found")

    run_side_by_side(play())
