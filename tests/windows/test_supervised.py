"""Supervise commands on Windows: their exit codes, and how they are stopped.

See `test_lives` for who runs where.
"""

from __future__ import annotations

import pytest

from tests.lives.stage import ROOT, run_side_by_side
from tests.windows.wine import CTRL_BREAK, CTRL_SHUTDOWN, translate

BUDGET = {"SIDECAR_STOP_TIMEOUT": "8"}
"""The stop timeout, in seconds, of a life that needs all of it."""
KILLED = 137
"""As a shell says it of a command that was killed: 128, and the number of SIGKILL."""
LISTENER = """\
import ctypes, sys, threading
heard = threading.Event()
@ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)
def handle(event):
    print("heard", event, flush=True)
    heard.set()
    return 1
ctypes.windll.kernel32.SetConsoleCtrlHandler(None, 0)  # wine: a new group hears nothing else
ctypes.windll.kernel32.SetConsoleCtrlHandler(handle, 1)
print("ready", flush=True)
heard.wait()
sys.exit(33)
"""
STUBBORN = LISTENER.replace("heard.wait()", "threading.Event().wait()")
DEAF = "import threading; print('ready', flush=True); threading.Event().wait()"


@pytest.mark.parametrize("code", [pytest.param(3, marks=pytest.mark.again), 0xC000013A])
def test_the_exit_code_is_the_command_s(wine, code):
    """All of its 32 bits, which Windows reads without a sign."""
    python = wine.python("3.11")
    program = f"import ctypes; ctypes.windll.kernel32.ExitProcess({code})"
    argv = [python, "-m", "sidecar", "run", "--", python, "-c", program]
    assert wine.run(argv, cwd=ROOT).code == code


@pytest.mark.parametrize(
    "event", [pytest.param(CTRL_BREAK, marks=pytest.mark.again), CTRL_SHUTDOWN]
)
def test_a_stop_reaches_the_command_as_ctrl_break(aws, open_one, event):
    """The agent passes it on, whichever it got; the command ends as it likes."""

    async def play():
        async with open_one(aws) as stage:
            command = ("--", stage.wine.python(stage.version), "-c", LISTENER)
            async with stage.start_agent(options=command) as life:
                await life.wait_for_text("ready")
                stage.stop_agent(life, event)
                assert await life.wait_for_end() == 33
            assert f"heard {CTRL_BREAK}" in life.text.splitlines()
            assert life.find_events("command.signalled")
            assert stage.find_processes() == {}

    run_side_by_side(play())


def test_a_third_stop_kills_the_command(aws, open_one):
    """Two are passed on as Ctrl-Break; the third waits for no budget."""

    async def play():
        async with open_one(aws) as stage:
            command = ("--", stage.wine.python(stage.version), "-c", STUBBORN)
            env = {"SIDECAR_STOP_TIMEOUT": "600"}
            async with stage.start_agent(env, command) as life:
                await life.wait_for_text("ready")
                for count in (1, 2):
                    stage.stop_agent(life, CTRL_BREAK)
                    await life.wait_for_event("command.signalled", count=count)
                stage.stop_agent(life, CTRL_BREAK)
                assert await life.wait_for_end() == KILLED
            assert f"heard {CTRL_BREAK}" in life.text.splitlines()
            assert stage.find_processes() == {}

    run_side_by_side(play())


def test_a_command_that_cannot_be_asked_is_killed(aws, open_one):
    """Without a console no Ctrl-Break can be sent: that is logged, and it has the stop budget."""

    async def play():
        async with open_one(aws) as stage:
            command = ("--", stage.wine.python(stage.version), "-c", DEAF)
            async with stage.start_agent(BUDGET, command, sends_break=False) as life:
                await life.wait_for_text("ready")
                stage.stop_agent(life)
                assert await life.wait_for_end() == KILLED
            assert life.find_events("command.signal_failed")
            assert stage.find_processes() == {}

    run_side_by_side(play())


REGISTER_AND_RUN = (
    "cd /d %WHERE% && call config.cmd --unattended --ephemeral --disableupdate"
    " --url %URL% --token %TOKEN% --name one && call run.cmd && echo all done"
)


def supervise_runner(stage):
    """Return variables and words of an agent that supervises a runner's own scripts."""
    where = translate(stage.runner_folder)
    env = {"URL": stage.github_url, "TOKEN": stage.mint_token(), "WHERE": where}
    return env, ("--", "cmd.exe", "/c", REGISTER_AND_RUN)


def test_a_command_registers_and_runs_a_job(aws, open_one):
    """`run -- cmd`: its scripts start the listener, a job runs; its last line and code are kept."""

    async def play():
        async with open_one(aws) as stage:
            job = stage.job("echo hello")
            async with stage.start_agent(*supervise_runner(stage)) as life:
                assert await life.wait_for_end() == 0
            assert "all done" in life.text
            assert job.result == "succeeded"
            assert stage.find_processes() == {}

    run_side_by_side(play())


def test_a_stop_cancels_the_job_of_a_supervised_runner(aws, open_one):
    """Its listener hears the Ctrl-Break, and cancels the job; nothing is left of either.

    Wine's cmd does not heed Ctrl-Break, and goes on with its script; that of Windows ends it.
    """

    async def play():
        async with open_one(aws) as stage:
            step, _ = stage.make_gate()
            job = stage.job(step)
            stage.misbehave(time_scale=0.1)
            async with stage.start_agent(*supervise_runner(stage)) as life:
                await stage.wait_for_output(job, "at the gate")
                stage.stop_agent(life)
                assert await life.wait_for_end() == 0
            assert job.result == "failed"
            assert "Exiting runner..." in life.text
            assert life.find_events("command.signalled")
            assert stage.find_processes() == {}

    run_side_by_side(play())
