"""The listener: its output, whether it is busy, how it ended."""

import asyncio
import os
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from sidecar import host, phase
from sidecar.errors import Exit
from sidecar.phase import Phase
from sidecar.runner.listener import Listener, run_listener
from tests.support.loops import on_both, run

STAMP = "2026-11-21 01:02:03Z: "


@pytest.fixture
def listener():
    """Give a listener whose process is not started."""
    return Listener(Phase())


@asynccontextmanager
async def run_as_listener(root, listener):
    """Run the program as the listener; gives a way to wait for its lines."""
    lines = []
    came = asyncio.Event()
    read_line = listener.read_line

    def record(stream, line):
        read_line(stream, line)
        lines.append(line)
        came.set()

    async def line(wanted):
        while wanted not in lines:
            came.clear()
            await came.wait()

    listener.read_line = record
    async with run_listener(root, {"PATH": os.environ["PATH"]}, listener):
        yield line


# --- its output ---------------------------------------------------------------------------------


def test_its_lines_become_events_and_phases(listener):
    """Ready, then busy, then the result, each from a line that the listener prints."""
    with capture_logs() as events:
        listener.read_line("stdout", "√ Connected to GitHub")
        assert not listener.ready_for_jobs.is_set()
        listener.read_line("stdout", STAMP + "Listening for Jobs")
        assert listener.ready_for_jobs.is_set()
        assert not listener.had_job
        listener.read_line("stdout", STAMP + "Running job: build (3.11)")
        assert listener.had_job
        listener.read_line("stdout", STAMP + "Job build (3.11) completed with result: Succeeded")
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
def test_a_line_that_only_looks_like_one_is_ignored(listener, line):
    """A job's name is untrusted text."""
    with capture_logs() as events:
        listener.read_line("stdout", line)
    assert [event["event"] for event in events] == ["listener.printed"]
    assert not listener.ready
    assert not listener.had_job
    assert listener.result is None


def test_a_job_s_name_cannot_announce_its_end(listener):
    """Whatever it contains, the end of the line is the listener's own."""
    name = f"x\\n{STAMP}Job y completed with result: Failed"
    listener.read_line("stdout", STAMP + f"Running job: {name}")
    assert listener.result is None
    listener.read_line("stdout", STAMP + f"Job {name} completed with result: Succeeded")
    assert listener.result == "Succeeded"


def test_only_the_first_announcement_counts(listener):
    """An ephemeral runner has one job."""
    with capture_logs() as events:
        listener.read_line("stdout", STAMP + "Running job: one")
        listener.read_line("stdout", STAMP + "Running job: two")
    assert [event["job"] for event in events if event["event"] == "job.announced"] == ["one"]


def test_a_connection_change_is_a_warning(listener):
    """Lost, and established again."""
    with capture_logs() as events:
        listener.read_line(
            "stderr", STAMP + "Runner connect error: no route. Retrying until reconnected."
        )
        listener.read_line("stdout", STAMP + "Runner reconnected.")
    assert connection_changes(events) == [(False, "no route"), (True, None)]


@pytest.mark.parametrize("good", ["Listening for Jobs", "Runner reconnected.", "Running job: x"])
def test_a_connection_that_is_good_again_is_reported(listener, good):
    """Once, by whatever shows it: after the first session no line says "reconnected"."""
    trouble = STAMP + "Runner connect error: Error: Conflict. Retrying until reconnected."
    with capture_logs() as events:
        listener.read_line("stderr", trouble)
        for _ in range(2):
            listener.read_line("stdout", STAMP + good)
    assert connection_changes(events) == [(False, "Error: Conflict"), (True, None)]


def connection_changes(events):
    """Return what the events say about the connection: whether there is one, and why not."""
    return [
        (event["connected"], event.get("reason"))
        for event in events
        if event["event"] == "runner.connection_changed"
    ]


def test_its_session_is_open_from_its_first_wait_for_jobs(listener):
    """Lost when it says so, open again when it says so; other errors are not about the session."""
    error = STAMP + "Runner connect error: {}. Retrying until reconnected."
    lines = (
        ("√ Connected to GitHub", False),
        (error.format("Failed to create broker session: Error: Internal Server Error"), False),
        (STAMP + "Listening for Jobs", True),
        (error.format("Failed to get job message. Request failed"), True),
        (error.format("Failed to create broker session: Error: Internal Server Error"), False),
        (STAMP + "Runner reconnected.", True),
    )
    for line, is_open in lines:
        listener.read_line("stdout", line)
        assert (listener.session_open.is_set(), listener.session_lost.is_set()) == (
            is_open,
            not is_open,
        )


@pytest.mark.parametrize(
    ("interrupted", "hooks", "result", "conclusion"),
    [
        (True, ("started",), "Canceled", "failed"),
        (True, ("started",), "Succeeded", None),
        (True, ("started", "completed"), "Canceled", None),
        (False, ("started",), "Canceled", None),
    ],
)
def test_an_interrupted_job_is_failed_at_github(listener, interrupted, hooks, result, conclusion):
    """The listener prints Canceled. The completed hook runs only if GitHub itself cancelled it."""
    listener.interrupted = interrupted
    with capture_logs() as events:
        for event in hooks:
            listener.on_hook_event(event)
        listener.read_line("stdout", STAMP + f"Job x completed with result: {result}")
    (reported,) = [event for event in events if event["event"] == "job.reported"]
    assert reported["result"] == result
    assert reported.get("conclusion") == conclusion


def test_the_hooks_report_a_job(listener):
    """Once each; unknown events are ignored."""
    with capture_logs() as events:
        for event in ("nonsense", "started", "started", "completed"):
            listener.on_hook_event(event)
    assert listener.had_job
    assert [event["event"] for event in events] == [
        "job.started",
        "phase.entered",
        "job.completed",
    ]


# --- whether it is busy -------------------------------------------------------------------------


@on_both
def test_it_is_busy_from_the_hook_s_event_until_its_end(loop, root, program, listener):
    """Not by its output alone, and not after its end."""
    program(f'echo "{STAMP}Running job: x"; echo up; read line <go\n')
    os.mkfifo(root.path / "go")

    async def life():
        held = os.open(root.path / "go", os.O_RDWR)
        async with run_as_listener(root, listener) as line:
            await line("up")
            assert listener.running
            assert listener.had_job
            assert not listener.busy
            listener.on_hook_event("started")
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
    """Also without an event of the hook."""
    host.write_new(
        root.path / "bin" / "Runner.Worker", b"#!/bin/sh\necho worker\nread line\n", 0o755, None
    )
    program("exec 3<>pipe; bin/Runner.Worker spawnclient <&3\n")
    os.mkfifo(root.path / "pipe")

    async def life():
        async with run_as_listener(root, listener) as line:
            await line("worker")
            assert listener.busy
        assert not listener.running

    run(loop, life())


# --- how it is interrupted ----------------------------------------------------------------------


def wake_shell(root, pipe):
    """End the `read` of a shell that was sent a signal.

    One that comes right before it begins to read would else have to wait for a line.
    """
    held = os.open(root.path / pipe, os.O_RDWR)  # there may be no reader any more
    os.write(held, b"\n")
    os.close(held)


@on_both
def test_an_interrupt_asks_the_worker_too(loop, root, program, listener):
    """A listener tells its worker only once, and a cancel by GitHub may have used that up."""
    worker = "#!/bin/sh\ntrap 'echo asked; exit 0' TERM\necho up\nwhile :; do read -r x <&3; done\n"
    host.write_new(root.path / "bin" / "Runner.Worker", worker.encode(), 0o755, None)
    program("trap : INT; exec 3<>pipe; bin/Runner.Worker &\nwait; wait\n")
    os.mkfifo(root.path / "pipe")

    async def life():
        async with run_as_listener(root, listener) as line:
            await line("up")
            listener.interrupt(busy=True)
            wake_shell(root, "pipe")
            await asyncio.wait_for(line("asked"), 60)

    run(loop, life())


# --- how it ended -------------------------------------------------------------------------------

RUNNING = f"echo '{STAMP}Running job: x'\n"
COMPLETED = f"echo '{STAMP}Job x completed with result: Succeeded'\n"
UNKNOWN = "echo 'The runner no longer exists on the server. Cleaning up.' >&2\n"
DELETED = (
    "echo 'Failed to create a session. The runner registration has been deleted from the server, "
    "please re-configure.' >&2\n"
)


@on_both
@pytest.mark.parametrize(
    ("script", "outcome", "exit_code"),
    [
        (RUNNING + COMPLETED, "job-done", Exit.DONE),
        (RUNNING, "job-withdrawn", Exit.DONE),
        ("echo '√ Removed .credentials'; echo '√ Removed .runner'\n", "job-withdrawn", Exit.DONE),
        ("exit 0\n", "no-job", Exit.RUNNER),
        (RUNNING + "exit 1\n", "terminated", Exit.RUNNER),
        ("exit 1\n", "terminated", Exit.RUNNER),
        ("exit 5\n", "session-conflict", Exit.CONFLICT),
        ("exit 7\n", "version-deprecated", Exit.DEPRECATED),
        ("exit 102\n", "job-failed", Exit.DONE),
        ("kill -9 $$\n", "killed", Exit.RUNNER),
        (UNKNOWN + "echo '√ Removed .runner'\n", "deregistered", Exit.GHOST),
        (DELETED + "exit 1\n", "deregistered", Exit.GHOST),
        (RUNNING + UNKNOWN + COMPLETED, "job-done", Exit.DONE),
    ],
)
def test_its_end_is_named(loop, root, program, listener, script, outcome, exit_code):
    """Its exit code and its output decide the agent's exit code."""
    program(script)

    async def life():
        async with run_as_listener(root, listener):
            await listener.ended
            await listener.process.read_last_output()
            assert listener.choose_exit_code(stopped=False) == exit_code

    with capture_logs() as events:
        run(loop, life())
    (ended,) = [event for event in events if event["event"] == "runner.ended"]
    assert ended["outcome"] == outcome
    assert ended["meaning"]


def test_a_session_that_cannot_be_opened_is_named(root, program, listener):
    """Whatever the exit code of the interrupted listener: exit 15."""
    program("exit 0\n")

    async def life():
        async with run_as_listener(root, listener):
            listener.session_limit_reached = True
            await listener.ended
            assert listener.outcome.name == "no-session"
            assert listener.choose_exit_code(stopped=False) == Exit.RUNNER

    run("asyncio", life())


@pytest.mark.parametrize(
    ("hooks", "result", "began"),
    [((), None, False), (("started",), None, True), ((), "Canceled", True)],
)
def test_a_job_began_if_its_hook_ran_or_it_has_a_result(listener, hooks, result, began):
    """An announcement alone may be followed by GitHub's withdrawal."""
    listener.read_line("stdout", STAMP + "Running job: x")
    for event in hooks:
        listener.on_hook_event(event)
    if result:
        listener.read_line("stdout", STAMP + f"Job x completed with result: {result}")
    assert listener.had_job
    assert listener.job_began is began


def test_a_refused_job_s_listener_is_interrupted(root, program, listener, monkeypatch):
    """If the hook does not end the job itself; whatever its code is, the agent says `refused`."""
    monkeypatch.setattr("sidecar.runner.listener.REFUSED_GRACE", 0.0)
    program("trap 'exit 0' INT; exec 3<>pipe; echo up; read x <&3\n")
    os.mkfifo(root.path / "pipe")

    async def life():
        async with run_as_listener(root, listener) as line:
            await line("up")
            listener.on_hook_event("started")
            listener.refuse_job("a stranger")
            while not listener.interrupted:
                await asyncio.wait([listener.ended], timeout=0.01)
            wake_shell(root, "pipe")
            assert await listener.ended == 0
        assert listener.outcome.name == "job-refused"
        assert not listener.job_began
        for stopped in (False, True):
            assert listener.choose_exit_code(stopped=stopped) is Exit.REFUSED

    with capture_logs() as events:
        run("asyncio", life())
    (end,) = [event for event in events if event["event"] == "runner.ended"]
    assert end["outcome"] == "job-refused"


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
def test_the_exit_code_after_a_stop_depends_on_the_job(
    root, program, listener, hooks, code, result, exit_code
):
    """Idle is done; an interrupted job is cancelled, unless all reports say that it had ended."""
    program("trap 'exit 3' INT; exec 3<>pipe; echo up; read x <&3; exit $x\n")
    os.mkfifo(root.path / "pipe")

    async def life():
        async with run_as_listener(root, listener) as line:
            await line("up")
            for event in hooks:
                listener.on_hook_event(event)
            listener.result = result
            if code in (0, 1):  # by itself
                (root.path / "pipe").write_text(f"{code}\n")
            elif code == 3:
                listener.interrupt(busy=True)
                wake_shell(root, "pipe")
            else:
                listener.interrupted = True
                await listener.process.kill()
            assert await listener.ended == code
        assert listener.choose_exit_code(stopped=True) == exit_code

    with capture_logs() as events:
        run("asyncio", life())
    ends = [event["code"] for event in events if event["event"] == "runner.ended"]
    assert ends == [code]
