"""Stop whole lives at twelve moments, on both event loops: nothing is left.

`Stage.check_end` checks what must be true after each of them.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

import pytest

from local import faults
from tests.lives.stage import (
    AS_PID_1,
    HIDE_UVLOOP,
    LOOPS,
    open_stage,
    read_output,
    run_side_by_side,
)

BUDGET = "15"
"""The stop timeout, in seconds, of lives that need all of it.

It leaves 1.2 s between the kill and the end of the cleanup, and 1.8 s from there.
"""
STUBBORN = "trap 'echo not me' INT TERM; echo stubborn; while :; do sleep 0.1; done"


def on_both_loops(play):
    """Run it twice, side by side: on uvloop, and on asyncio's own loop."""
    run_side_by_side(*(play(argv) for argv in LOOPS.values()))


def test_a_job_that_ends_ends_the_life(aws):
    """Exit 0; the token, the runner and every process are gone."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("echo hello")
            async with stage.life(argv) as life:
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "hello" in read_output(job)

    on_both_loops(play)


@pytest.mark.parametrize("moment", ["before-listening", "after-listening", "in-job"])
def test_a_runner_that_crashes_is_cleaned_up_after(aws, moment):
    """The runner's program dies: exit 15, and the runner is deregistered all the same."""

    async def play(argv):
        async with open_stage(aws) as stage:
            stage.misbehave(run=f"crash-{moment}")
            stage.world.settings.lost_after = 1.0  # then GitHub ends the lost job
            await stage.put()
            if moment == "in-job":
                stage.job("sleep 600")
            async with stage.life(argv) as life:
                await stage.check_end(life, 15)
            assert "signal 6" in life.find_events("runner.ended")[0]["meaning"]

    on_both_loops(play)


def test_a_stop_while_waiting_for_the_token(aws):
    """TERM before there is a token: exit 16, GitHub was never asked anything."""

    async def play(argv):
        async with open_stage(aws) as stage:
            async with stage.life(argv) as life:
                await stage.ssm.reached(target="GetParameter")
                life.signal()
                await stage.check_end(life, 16)
            assert not stage.world.calls

    on_both_loops(play)


def test_a_token_that_was_never_read_is_deleted(aws):
    """TERM while SSM hangs: the token is deleted without having been read."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.ssm.add(faults.Rule("hang", target="GetParameter", times=1))
            async with stage.life(argv) as life:
                await stage.ssm.reached(target="GetParameter")
                life.signal()
                await stage.check_end(life, 16)
            assert not stage.world.calls

    on_both_loops(play)


def test_a_stop_while_configuring_removes_the_runner(aws):
    """TERM while GitHub registers: configure may finish, then the runner is removed; exit 16."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            # The stop must come first, however late it is; half of its budget is longer.
            stage.world.faults.add({"call": "runner-add", "after": True, "delay": 6.0})
            async with stage.life(argv) as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                life.signal()
                await stage.check_end(life, 16)
            assert [gone.by for gone in stage.world.runners.removed] == ["remove"]

    on_both_loops(play)


@pytest.mark.alone
def test_a_stop_while_configure_does_not_end(aws):
    """TERM while configure hangs: it is killed in time, the runner is removed; exit 16."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(configure="hang")
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": BUDGET}) as life:
                await life.wait_for_event("configure.printed", line="# Authentication")
                life.signal()
                await stage.check_end(life, 16)
            assert life.stop_seconds < float(BUDGET)

    async def play_half(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.world.faults.add({"call": "runner-add", "after": True, "hang": True})
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": BUDGET}) as life:
                await stage.wait_for(lambda: list(stage.world.runners), "the runner")
                life.signal()
                await stage.check_end(life, 16)
            assert [gone.by for gone in stage.world.runners.removed] == ["replaced", "remove"]
            assert life.stop_seconds < float(BUDGET)

    run_side_by_side(*(each(argv) for argv in LOOPS.values() for each in (play, play_half)))


def test_a_stop_while_idle_deregisters_first(aws):
    """TERM while idle: deregistered, then ended; exit 0, and no job is taken in between."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            async with stage.life(argv) as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.wait_for(lambda: not list(stage.world.runners), "the removal")
                job = stage.job("true")
                await stage.check_end(life, 0)
            assert job.state == "queued"
            assert [gone.by for gone in stage.world.runners.removed] == ["remove"]
            assert life.find_events("runner.killed") == []

    on_both_loops(play)


def test_a_stop_while_busy_lets_the_job_go_on(aws):
    """TERM while a job runs and the budget is long: the job ends by itself; exit 0."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            step, open_gate = stage.make_gate()
            job = stage.job(step, "echo the second step")
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": "120"}) as life:
                await stage.wait_for_output(job, "at the gate")
                life.signal()
                await life.wait_for_event("stop.job_awaited")
                open_gate()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert "the second step" in read_output(job)
            assert life.find_events("runner.interrupted") == []

    on_both_loops(play)


def test_a_stop_while_busy_cancels_a_job_that_is_too_long(aws):
    """TERM while a job runs and the budget is short: the job is cancelled; exit 22."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            job = stage.job("echo begun; exec sleep 600")
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": "24"}) as life:
                await stage.wait_for_output(job, "begun")
                life.signal()
                await stage.check_end(life, 22)
            assert job.result == "failed"
            (reported,) = life.find_events("job.reported")
            assert (reported["result"], reported["conclusion"]) == ("Canceled", "failed")
            assert life.find_events("runner.killed") == []

    on_both_loops(play)


def test_a_stop_while_github_cancels_ends_an_always_step(aws):
    """The listener tells its worker nothing then: the agent itself does; exit 22, no kill."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            steps = [
                {"run": "echo begun; exec sleep 600"},
                {"run": "echo always; exec sleep 600", "if": "always()"},
            ]
            job = stage.queue_job({"name": "build", "steps": steps})
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": "120"}) as life:
                await stage.wait_for_output(job, "begun")
                assert stage.world.cancel(job)
                await stage.wait_for_output(job, "always")
                life.signal()
                await life.wait_for_event("stop.job_awaited")
                life.signal(signal.SIGINT)
                # Long before the budget's own moment, for which this would not wait.
                await life.wait_for_event("runner.interrupted")
                await stage.check_end(life, 22)
            assert job.state == "completed"
            assert life.find_events("runner.killed") == []

    on_both_loops(play)


def test_a_stop_during_cleanup_changes_nothing(aws):
    """Two stop signals while the cleanup runs: it goes on; exit 0."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            step, open_gate = stage.make_gate()
            job = stage.job(step)
            async with stage.life(argv) as life:
                await stage.wait_for_output(job, "at the gate")
                # GitHub is asked whether the runner is gone, and answers after both signals.
                signalled = asyncio.Event()
                held = {"call": "runner-agents", "count": -1, "gate": signalled}
                stage.world.faults.add(held)
                open_gate()
                await life.wait_for_event("runner.ended")
                life.signal()
                life.signal(signal.SIGINT)
                signalled.set()
                await stage.check_end(life, 0)
            assert job.result == "succeeded"
            assert len(life.find_events("token.deleted")) == 1

    on_both_loops(play)


@pytest.mark.alone  # after the third signal each cleanup step has two seconds
def test_three_signals_interrupt_then_kill(aws):
    """A second signal interrupts the job at once, a third kills what ignores it; exit 22."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(ignore_signals=True)
            job = stage.job(STUBBORN)
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": "120"}) as life:
                await stage.wait_for_output(job, "stubborn")
                life.signal(signal.SIGTERM)
                await life.wait_for_event("stop.job_awaited")
                life.signal(signal.SIGINT)
                # Each long before the budget's own moment, for which these would not wait.
                await life.wait_for_event("runner.interrupted")
                assert life.find_events("runner.killed") == []
                # After a kill the agent does not wait for long until GitHub gives up the job.
                stage.give_up(job, 0.0)
                await stage.wait_for(lambda: job.state == "completed", "the end of the job")
                life.signal(signal.SIGTERM)
                await life.wait_for_event("runner.killed")
                await stage.check_end(life, 22)
            assert len(life.find_events("runner.killed")) == 1

    on_both_loops(play)


@pytest.mark.alone
def test_a_child_that_ignores_everything_is_killed(aws):
    """A runner and a step that ignore signals are killed in time; the log says what is left."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.misbehave(ignore_signals=True)
            job = stage.job(STUBBORN)
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": BUDGET}) as life:
                await stage.wait_for_output(job, "stubborn")
                life.signal()
                await stage.check_end(life, 22, left=["runner"])
            assert "still running a job" in life.find_events("retry.scheduled")[-1]["reason"]
            assert life.stop_seconds < float(BUDGET)

    on_both_loops(play)


@pytest.mark.alone
def test_a_cleanup_step_that_hangs_is_cancelled_within_the_budget(aws):
    """SSM and GitHub hang at the stop: it ends in time, the log says what is left; exit 17."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.ssm.add(faults.Rule("hang", target="DeleteParameter"))
            async with stage.life(argv, env={"SIDECAR_STOP_TIMEOUT": BUDGET}) as life:
                await life.wait_for_phase("idle")
                stage.world.faults.add({"call": "runner-registration", "count": -1, "hang": True})
                life.signal()
                await stage.check_end(life, 17, left=["runner", "token"])
            assert life.stop_seconds < float(BUDGET)
            assert all(
                "SIDECAR_STOP_TIMEOUT" in e["reason"] for e in life.find_events("cleanup.failed")
            )

    on_both_loops(play)


def test_a_cleanup_step_that_fails_does_not_prevent_the_others(aws):
    """One step is refused: the other is done, the log names the permission; exit 17."""

    async def play(argv):
        async with open_stage(aws) as stage:
            await stage.put()
            stage.ssm.add(
                faults.Rule("status", target="DeleteParameter", error="AccessDeniedException")
            )
            async with stage.life(argv) as life:
                await life.wait_for_phase("idle")
                life.signal()
                await stage.check_end(life, 17, left=["token"])
            (failed,) = life.find_events("cleanup.failed")
            assert "ssm:DeleteParameter" in failed["reason"]

    async def play_the_other(argv):
        async with open_stage(aws) as stage:
            stage.misbehave(retry_seconds=0.01)
            await stage.put()
            async with stage.life(argv) as life:
                await life.wait_for_phase("idle")
                stage.world.faults.add({"call": "runner-registration", "count": -1, "status": 403})
                life.signal()
                await stage.check_end(life, 17, left=["runner"])
            assert life.find_events("token.deleted")

    run_side_by_side(*(each(argv) for argv in LOOPS.values() for each in (play, play_the_other)))


# --- early moments -----------------------------------------------------------------------------


async def stop_early(aws, argv, seconds):
    """Stop a life `seconds` after its start; returns whether it had a handler by then."""
    async with open_stage(aws) as stage:
        await stage.put()
        # Coverage would start before the program, and take longer than this moment.
        unwatched = {key: None for key in stage.environment() if key.startswith("COVERAGE")}
        async with stage.life(argv, env=unwatched) as life:
            await life.wait_for_age(seconds)
            handled = life.handles_sigterm()
            life.signal()
            if handled:
                await stage.check_end(life, 16)
            elif AS_PID_1[0] not in argv and await life.wait_for_end() in (-signal.SIGTERM, 16):
                # The system ended it before it had a handler: nothing was contacted.
                assert life.process.returncode == 16 or not stage.ssm.requests
                await stage.check_no_processes()
        assert not stage.world.calls
    return handled


@pytest.mark.parametrize("milliseconds", [0, 20, 50, 100, 300])
def test_a_stop_at_any_early_moment(aws, milliseconds):
    """TERM while the interpreter starts: it ends at once, or in good order with exit 16."""

    async def play(argv):
        await stop_early(aws, argv, milliseconds / 1000)

    on_both_loops(play)


@pytest.mark.alone
@pytest.mark.root
@pytest.mark.parametrize("milliseconds", [100, 300])
def test_a_stop_at_an_early_moment_of_pid_1(aws, milliseconds):
    """TERM 100 ms after the start is handled by PID 1, which loses signals without a handler."""

    async def play(argv):
        for _ in range(5):  # a machine too busy to start an interpreter in time gets another try
            if await stop_early(aws, (*AS_PID_1, *argv), milliseconds / 1000):
                return
        pytest.fail(f"no handler after {milliseconds} ms, five times")

    on_both_loops(play)


# Tells which of the heavy imports begins while a TERM would still end the process.
WATCH_IMPORTS = """
import signal, sys
def watch(event, arguments, heavy=("asyncio", "_ssl", "pydantic_core")):
    if event == "import" and arguments[0] in heavy:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            sys.stderr.write(f"too early: {arguments[0]}\\n")
sys.addaudithook(watch)
"""
RUN = "from sidecar.__main__ import main; sys.exit(main(['run', *sys.argv[1:]]))"


@pytest.mark.root
def test_handlers_are_set_before_the_heavy_imports(aws):
    """Once the handler is set no TERM is lost, and it is set before asyncio is imported."""

    async def play(script):
        async with open_stage(aws) as stage:
            await stage.put()
            argv = (*AS_PID_1, sys.executable, "-c", WATCH_IMPORTS + script)
            async with stage.life(argv) as life:
                deadline = time.monotonic() + 30
                while not life.handles_sigterm():
                    assert time.monotonic() < deadline
                life.signal()
                await stage.check_end(life, 16)
            assert not stage.world.calls
            return life.errors

    async def play_both():
        for script in (RUN, HIDE_UVLOOP):
            assert "too early" not in await play(script)
        assert "too early: asyncio" in await play(f"import asyncio\n{RUN}")

    run_side_by_side(play_both())
