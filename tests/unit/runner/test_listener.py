"""The listener: what it says, whether it is busy, how it ended."""

import asyncio
import os
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from sidecar import host, phase
from sidecar.errors import Exit
from sidecar.phase import Phase
from sidecar.runner.listener import Listener, listening
from tests.support.loops import on_both, run

STAMP = "2026-11-21 01:02:03Z: "


@pytest.fixture
def listener():
    """Give a listener whose process has not been started."""
    return Listener(Phase())


@asynccontextmanager
async def started(root, listener):
    """Run the program as the listener; gives a way to wait for its lines."""
    said = []
    came = asyncio.Event()
    hear = listener.hear

    def heard(stream, line):
        hear(stream, line)
        said.append(line)
        came.set()

    async def line(wanted):
        while wanted not in said:
            came.clear()
            await came.wait()

    listener.hear = heard
    async with listening(root, {"PATH": os.environ["PATH"]}, listener):
        yield line


# --- what it says -------------------------------------------------------------------------------


def test_its_lines_become_events_and_phases(listener):
    """Ready, then busy, then the result, each from the line that the listener prints."""
    with capture_logs() as events:
        listener.hear("stdout", "√ Connected to GitHub")
        assert not listener.listened.is_set()
        listener.hear("stdout", STAMP + "Listening for Jobs")
        assert listener.listened.is_set()
        assert not listener.had_job
        listener.hear("stdout", STAMP + "Running job: build (3.11)")
        assert listener.had_job
        listener.hear("stdout", STAMP + "Job build (3.11) completed with result: Succeeded")
    assert listener.result == "Succeeded"
    names = [event["event"] for event in events]
    assert names == [
        "listener.printed",
        "listener.printed",
        "phase.entered",
        "listener.printed",
        "job.announced",
        "phase.entered",
        "listener.printed",
        "job.reported",
    ]
    assert [event["phase"] for event in events if "phase" in event] == [phase.IDLE, phase.BUSY]
    assert events[-1] == {
        "event": "job.reported",
        "log_level": "info",
        "job": "build (3.11)",
        "result": "Succeeded",
    }


@pytest.mark.parametrize(
    "line",
    [
        "Listening for Jobs",
        "x " + STAMP + "Listening for Jobs",
        STAMP + "Listening for Jobs or so",
        "Running job: x",
        STAMP + "Running jobs: x",
        "Job x completed with result: Failed",
        STAMP + "Job x completed with result: Failed, or not",
        "Runner connect error: x",
        "Runner reconnected.",
    ],
)
def test_what_only_looks_like_one_of_its_lines_is_none(listener, line):
    """A job's name is an outsider's text."""
    with capture_logs() as events:
        listener.hear("stdout", line)
    assert [event["event"] for event in events] == ["listener.printed"]
    assert not listener.ready
    assert not listener.had_job
    assert listener.result is None


def test_a_job_s_name_cannot_announce_its_end(listener):
    """Whatever stands in it, the last words of the line are the listener's own."""
    name = f"x\\n{STAMP}Job y completed with result: Failed"
    listener.hear("stdout", STAMP + f"Running job: {name}")
    assert listener.result is None
    listener.hear("stdout", STAMP + f"Job {name} completed with result: Succeeded")
    assert listener.result == "Succeeded"


def test_only_the_first_announcement_counts(listener):
    """An ephemeral runner has one job."""
    with capture_logs() as events:
        listener.hear("stdout", STAMP + "Running job: one")
        listener.hear("stdout", STAMP + "Running job: two")
    assert [event["job"] for event in events if event["event"] == "job.announced"] == ["one"]


def test_connection_trouble_is_a_warning(listener):
    """Lost and found again."""
    with capture_logs() as events:
        listener.hear(
            "stderr", STAMP + "Runner connect error: no route. Retrying until reconnected."
        )
        listener.hear("stdout", STAMP + "Runner reconnected.")
    told = [event["connected"] for event in events if event["event"] == "runner.connection_changed"]
    assert told == [False, True]


def test_the_hooks_tell_of_a_job(listener):
    """Once each; unknown words are nothing."""
    with capture_logs() as events:
        for word in ("nonsense", "started", "started", "completed"):
            listener.hear_hook(word)
    assert listener.had_job
    assert [event["event"] for event in events] == [
        "job.started",
        "phase.entered",
        "job.completed",
    ]


# --- whether it is busy -------------------------------------------------------------------------


@on_both
def test_it_is_busy_when_the_hook_said_so_and_until_it_ends(loop, root, program, listener):
    """Never by its output alone; never after its end."""
    program(f'echo "{STAMP}Running job: x"; echo up; read line <go\n')
    os.mkfifo(root.path / "go")

    async def life():
        held = os.open(root.path / "go", os.O_RDWR)
        async with started(root, listener) as line:
            await line("up")
            assert listener.running
            assert listener.had_job
            assert not listener.busy
            listener.hear_hook("started")
            assert listener.busy
            os.write(held, b"\n")
            assert await listener.ended == 0
            assert not listener.busy
        os.close(held)
        assert not listener.running

    run(loop, life())
    assert program.runs() == ["run token="]


@on_both
def test_it_is_busy_while_a_worker_runs_below_it(loop, root, program, listener):
    """Also where the hook was never heard."""
    host.write_new(
        root.path / "bin" / "Runner.Worker", b"#!/bin/sh\necho worker\nread line\n", 0o755, None
    )
    program("exec 3<>pipe; bin/Runner.Worker spawnclient <&3\n")
    os.mkfifo(root.path / "pipe")

    async def life():
        async with started(root, listener) as line:
            await line("worker")
            assert listener.busy
        assert not listener.running

    run(loop, life())


# --- how it ended -------------------------------------------------------------------------------


@on_both
@pytest.mark.parametrize(
    ("script", "outcome", "exit_code"),
    [
        (f"echo '{STAMP}Running job: x'; exit 0\n", "job-done", Exit.DONE),
        ("exit 1\n", "terminated", Exit.RUNNER),
        ("exit 5\n", "session-conflict", Exit.CONFLICT),
        ("exit 7\n", "version-deprecated", Exit.DEPRECATED),
        ("exit 102\n", "job-failed", Exit.DONE),
        ("kill -9 $$\n", "killed", Exit.RUNNER),
        (
            "echo 'The runner no longer exists on the server. Cleaning up.'; exit 0\n",
            "deregistered",
            Exit.RUNNER,
        ),
        (
            f"echo '{STAMP}Running job: x'; echo 'The runner no longer exists on the server.'\n",
            "job-done",
            Exit.DONE,
        ),
    ],
)
def test_its_end_is_named(loop, root, program, listener, script, outcome, exit_code):
    """Its exit code, and what it said before, decide what the agent ends with."""
    program(script)

    async def life():
        async with started(root, listener):
            await listener.ended
            await listener.process.heard_out()
            assert listener.verdict(stopped=False) == exit_code

    with capture_logs() as events:
        run(loop, life())
    (ended,) = [event for event in events if event["event"] == "runner.ended"]
    assert ended["outcome"] == outcome
    assert ended["meaning"]


@pytest.mark.parametrize(
    ("hooks", "code", "result", "exit_code"),
    [
        ((), 3, None, Exit.DONE),
        (("started",), 3, None, Exit.CANCELLED),
        (("started",), 3, "Canceled", Exit.CANCELLED),
        (("started",), 3, "Succeeded", Exit.CANCELLED),
        (("started", "completed"), 3, "Canceled", Exit.CANCELLED),
        (("started", "completed"), 3, "Succeeded", Exit.DONE),
        (("started", "completed"), -9, "Succeeded", Exit.CANCELLED),
        (("started",), 0, None, Exit.DONE),
        (("started", "completed"), 0, "Failed", Exit.DONE),
        (("started",), 1, None, Exit.RUNNER),
    ],
)
def test_ended_by_a_stop_it_is_judged_by_the_job(
    root, program, listener, hooks, code, result, exit_code
):
    """An idle one is done; an interrupted job is cancelled unless all say that it had ended."""
    program("trap 'exit 3' INT; exec 3<>pipe; echo up; read x <&3; exit $x\n")
    os.mkfifo(root.path / "pipe")

    async def life():
        async with started(root, listener) as line:
            await line("up")
            for word in hooks:
                listener.hear_hook(word)
            listener.result = result
            if code in (0, 1):  # by itself
                (root.path / "pipe").write_text(f"{code}\n")
            elif code == 3:
                listener.interrupt()
            else:
                listener.interrupted = True
                await listener.process.kill()
            assert await listener.ended == code
        assert listener.verdict(stopped=True) == exit_code

    with capture_logs() as events:
        run("asyncio", life())
    ends = [event["code"] for event in events if event["event"] == "runner.ended"]
    assert ends == [code]
