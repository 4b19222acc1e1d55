"""A child cannot outlive its block, nor can its processes: tried with badly behaved programs."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar import host, process
from sidecar.errors import RunnerError
from sidecar.log.lines import LIMIT
from sidecar.process import Command, collect_orphans
from tests.support.loops import on_both, run

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37

# A usual daemon: it has its own session, its parent has ended, and it ignores stop signals.
DAEMON = """\
import os, signal, sys, time
for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_IGN)
middle = os.fork()
if middle == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    if {closes}:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
    with open({pidfile!r} + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename({pidfile!r} + ".new", {pidfile!r})
    time.sleep(60)
    os._exit(0)
os.waitpid(middle, 0)
while not os.path.exists({pidfile!r}):
    time.sleep(0.005)
print("daemon is up", flush=True)
{then}
"""


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Give all that a killed process and its last output need, however busy the machine is."""
    for name in ("KILL_TIMEOUT", "LAST_PAUSE", "LAST_OUTPUT", "DRAIN_OUTPUT"):
        monkeypatch.setattr(process, name, 60.0)
    monkeypatch.setattr(process.Process.kill, "__defaults__", (60.0,))


@pytest.fixture(autouse=True)
def run_children(spare_children):
    """Adopt orphans as the agent does; spare the test run's own children, which this gives."""
    libc = ctypes.CDLL(None)
    before = ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield spare_children
    assert process._waited_for == spare_children
    libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


class Output:
    """The lines of a child; waits for one."""

    def __init__(self):
        self.lines = []
        self._came = asyncio.Event()

    def __call__(self, stream, line):
        """Take one line."""
        self.lines.append((stream, line))
        self._came.set()

    async def line(self, wanted):
        """Wait until some line holds `wanted`."""
        while not any(wanted in line for _, line in self.lines):
            self._came.clear()
            await self._came.wait()


@asynccontextmanager
async def child(program, *arguments, env=None):
    """Run a Python program as a child; gives the process and its output."""
    output = Output()
    argv = (sys.executable, "-c", program, *map(str, arguments))
    command = Command(argv, {"PATH": os.defpath} | (env or {}), Path("/"))
    async with process.run_child(command, output) as running:
        yield running, output


def alive(pid):
    """Whether a process is alive: it exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def exists(pid):
    """Whether a process exists, be it one that has ended but is not collected yet."""
    return Path(f"/proc/{pid}").exists()


@on_both
def test_output_and_exit_code_of_a_child_are_read(loop):
    """Both streams are read, apart from each other; the child has only the given environment."""
    program = (
        "import os, sys\n"
        "print('out', sorted(os.environ), repr(sys.stdin.read()), os.getcwd())\n"
        "print('err', file=sys.stderr)\n"
        "sys.exit(7)\n"
    )

    async def life():
        async with child(program, env={"LC_ALL": "C.UTF-8"}) as (running, output):
            assert running.running
            assert await running.ended == 7
            assert not running.running
            running.interrupt()  # no process to interrupt is no error
        assert sorted(output.lines) == [
            ("stderr", "err"),
            ("stdout", "out ['LC_ALL', 'PATH'] '' /"),
        ]
        assert not exists(running.pid)

    with capture_logs() as logs:
        run(loop, life())
    assert logs == []


@on_both
def test_output_before_the_end_is_read(loop):
    """Also a last line without a line end; a line of a megabyte is cut."""
    program = "import sys; sys.stdout.write('x' * 1000000 + '\\nlast line')"

    async def life():
        async with child(program) as (running, output):
            await running.ended
            await running.read_last_output()
            return list(output.lines)

    assert run(loop, life()) == [
        ("stdout", "x" * LIMIT + f" [{1000000 - LIMIT} bytes cut]"),
        ("stdout", "last line"),
    ]


@on_both
def test_a_child_has_ended_after_its_block(loop):
    """Also when the block fails, and when the child ignores every signal."""
    program = (
        "import signal, time\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    pids = []

    async def life():
        async with child(program) as (running, output):
            pids.append(running.pid)
            await output.line("ready")
            running.interrupt()
            raise ValueError("of the block")

    with capture_logs() as logs, pytest.raises(ValueError, match="of the block"):
        run(loop, life())
    assert not exists(*pids)
    assert [(log["event"], log["pid"]) for log in logs] == [("process.killed", *pids)]


@on_both
def test_an_interrupt_reaches_the_child_alone(loop):
    """Its own children get no signal: the runner decides when a job's steps end."""
    program = (
        "import os, signal, subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', '''\n"
        "import signal, time\n"
        'signal.signal(signal.SIGINT, lambda *_: print("grandchild interrupted", flush=True))\n'
        'print("ready", flush=True)\n'
        "time.sleep(60)\n"
        "'''])\n"
        "def interrupted(*_):\n"
        "    os.write(1, b'child interrupted\\n')\n"  # `print` may be running, and fails then
        "    sys.exit(3)\n"
        "signal.signal(signal.SIGINT, interrupted)\n"
        "print('set', flush=True)\n"
        "grandchild.wait()\n"
    )

    async def life():
        async with child(program) as (running, output):
            await output.line("set")
            await output.line("ready")
            running.interrupt()
            assert await running.ended == 3
        assert ("stdout", "child interrupted") in output.lines
        assert not any("grandchild interrupted" in line for _, line in output.lines)

    run(loop, life())


@on_both
@pytest.mark.parametrize("then", ["", "time.sleep(60)"], ids=["parent-ended", "parent-lives"])
def test_a_daemon_does_not_outlive_the_block(loop, tmp_path, then):
    """Forked twice, in its own session, ignoring signals: it is found, killed and collected."""
    pidfile = tmp_path / "pid"
    program = DAEMON.format(closes=True, pidfile=str(pidfile), then=then)

    async def life():
        async with child(program) as (running, output):
            await output.line("daemon is up")
            if not then:
                assert await running.ended == 0
            assert alive(int(pidfile.read_text()))

    with capture_logs() as logs:
        run(loop, life())
    assert not exists(int(pidfile.read_text()))
    (killed,) = logs
    assert killed["event"] == "process.killed"
    assert killed["processes"] >= (2 if then else 1)


@on_both
def test_a_pipe_held_open_does_not_block_the_end(loop, tmp_path, monkeypatch):
    """A daemon that cannot be killed keeps the pipe; its output is awaited only a moment."""
    monkeypatch.setattr(process, "DRAIN_OUTPUT", 0.1)
    monkeypatch.setattr(host, "kill_leftovers", lambda *_, **__: 0)
    pidfile = tmp_path / "pid"
    program = DAEMON.format(closes=False, pidfile=str(pidfile), then="print('bye')")

    async def life():
        async with child(program) as (running, output):
            assert await running.ended == 0
        assert output.lines == [("stdout", "daemon is up"), ("stdout", "bye")]

    run(loop, life())
    daemon = int(pidfile.read_text())
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)
    os.waitpid(daemon, 0)


@on_both
def test_killing_gives_up_after_some_time(loop, monkeypatch):
    """A process that stays (in a hung file system, say) does not hold the agent for ever."""
    rounds = []
    # A clock of rounds: on a busy machine one of them may take longer than any time-out.
    clock = SimpleNamespace(time=lambda: len(rounds))
    timed = SimpleNamespace(get_running_loop=lambda: clock, wait=asyncio.wait, sleep=asyncio.sleep)

    async def life():
        async with child("import time; print('up', flush=True); time.sleep(60)") as (
            running,
            output,
        ):
            await output.line("up")
            with monkeypatch.context() as patched:
                patched.setattr(process, "LAST_PAUSE", 0.01)
                patched.setattr(process, "asyncio", timed)
                patched.setattr(host, "kill_leftovers", lambda root, **_: rounds.append(root) or 0)
                assert await running.kill(3) == 0
                assert len(rounds) == 3
                assert await running.kill() == 0
            assert len(rounds) == 3 + 1, "a second search is one round"
            assert set(rounds) == {running.pid}

    run(loop, life())


@on_both
def test_the_test_run_s_own_children_are_spared(loop, run_children):
    """What this file kills is its own: a docker engine of another test's, say, goes on."""
    with subprocess.Popen(["sleep", "60"]) as other:
        process._waited_for.add(other.pid)

        async def life():
            async with child("print('up')"):
                pass

        run(loop, life())
        assert other.poll() is None
        other.kill()
    process._waited_for.discard(other.pid)


@on_both
def test_one_child_s_end_spares_another_child_and_its_processes(loop):
    """Deregistering the runner while the listener runs kills no process of the listener."""
    family = (
        "import subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('grandchild', grandchild.pid, flush=True)\n"
        "grandchild.wait()\n"
    )

    async def life():
        async with child(family) as (one, output):
            await output.line("grandchild")
            grandchild = int(output.lines[0][1].split()[1])
            async with child("import time; print('up', flush=True); time.sleep(60)") as (
                two,
                other_output,
            ):
                await other_output.line("up")
            assert not alive(two.pid)
            assert one.running
            assert alive(grandchild)
        assert not exists(one.pid)
        assert not exists(grandchild)

    run(loop, life())


@on_both
def test_orphans_are_collected_without_stealing_a_child(loop, tmp_path):
    """An adopted process that has ended is collected; a child's exit code is still read."""
    pidfile = tmp_path / "pid"
    program = DAEMON.format(
        closes=True, pidfile=str(pidfile), then="sys.stdin.close(); sys.exit(5)"
    ).replace("time.sleep(60)", "time.sleep(0.05)")

    async def life():
        async with collect_orphans(every=0.01):
            codes = []
            for _ in range(3):
                pidfile.unlink(missing_ok=True)
                async with child(program) as (running, _):
                    codes.append(await running.ended)
                    orphan = int(pidfile.read_text())
                    while exists(orphan):  # noqa: ASYNC110  no event reports it
                        await asyncio.sleep(0)
            assert codes == [5, 5, 5]

    run(loop, life())


@on_both
def test_a_dead_child_of_others_does_not_hide_the_orphans(loop, tmp_path):
    """The kernel shows one dead child at a time; the first may be one that is collected later."""
    pidfile = tmp_path / "pid"
    program = DAEMON.format(closes=True, pidfile=str(pidfile), then="")
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    process._waited_for.add(ended.pid)

    async def life():
        async with child(program) as (running, _):
            assert await running.ended == 0
        assert not exists(int(pidfile.read_text()))

    run(loop, life())
    assert ended.wait(10) == 0
    process._waited_for.discard(ended.pid)


@on_both
def test_a_killed_process_of_many_threads_is_collected(loop):
    """Its first thread is dead before the others are: the kill waits for all of them."""
    program = (
        "import os, subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', '''\n"
        "import threading, time\n"
        "for _ in range(50):\n"
        "    threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('grandchild', __import__('os').getpid(), flush=True)\n"
        "'''])\n"
        "grandchild.wait()\n"
    )

    async def life():
        async with child(program) as (running, output):
            await output.line("grandchild")
        assert not exists(running.pid)
        assert not exists(int(output.lines[0][1].split()[1]))

    run(loop, life())


@on_both
def test_a_program_that_cannot_be_started_is_an_error(loop, tmp_path):
    """It is missing, or not executable: the message has the system's reason."""
    plain = tmp_path / "plain"
    plain.write_text("no program")

    async def start(path):
        async with process.run_child(Command((str(path),), {}, tmp_path), Output()):
            pass

    with pytest.raises(RunnerError, match=r"^cannot start .*/missing: No such file or directory$"):
        run(loop, start(tmp_path / "missing"))
    with pytest.raises(RunnerError, match=r"^cannot start .*/plain: Permission denied$"):
        run(loop, start(plain))


def test_a_command_does_not_show_its_environment():
    """The environment holds the registration token."""
    assert "SECRET" not in repr(Command(("x",), {"T": "SECRET"}, Path("/")))


@on_both
def test_a_child_that_outlives_the_loop_is_no_error(loop):
    """The thread that waits for it finds the loop closed, and ends without an error."""
    left = []

    async def life():
        popen = host.spawn(
            [sys.executable, "-c", "import signal; signal.pause()"], {}, Path("/"), None
        )
        left.append((popen, process.Process(popen)))
        os.kill(popen.pid, signal.SIGSTOP)

    run(loop, life())
    ((popen, _),) = left
    os.kill(popen.pid, signal.SIGKILL)
    for stream in (popen.stdout, popen.stderr):
        stream.close()
    waiting = [
        thread for thread in process.threading.enumerate() if thread.name.endswith("(_wait)")
    ]
    for thread in waiting:
        thread.join(10)
    assert popen.returncode in (-signal.SIGKILL, 0)


def test_a_child_without_a_waiting_thread_is_killed(monkeypatch):
    """At the limit of processes no thread can start: the child that was just started is killed."""
    started = []

    class Thread(process.threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    def spawn(*given):
        started.append(host.spawn(*given))
        return started[0]

    async def play():
        monkeypatch.setattr(process.threading, "Thread", Thread)
        monkeypatch.setattr(process, "host", SimpleNamespace(spawn=spawn))
        with pytest.raises(RunnerError, match="cannot start sleep: can't start new thread"):
            async with process.run_child(
                Command(("sleep", "600"), dict(os.environ), Path.cwd()), lambda *_: None
            ):
                pass

    asyncio.run(play())
    assert started[0].returncode == -signal.SIGKILL


class UserKill:
    """Counts the kills by a user's id, each of which hits nothing."""

    def __init__(self):
        self.kills = 0

    async def kill(self):
        """Take one."""
        self.kills += 1
        return True


@pytest.mark.root
def test_a_users_processes_are_killed_by_its_id_when_its_last_child_ends(monkeypatch):
    """Not while another child of the agent's has the same user, which would be hit too."""
    user_kill = UserKill()
    monkeypatch.setattr(process, "user_kill", user_kill)

    async def play():
        command = Command(
            ("sleep", "60"), {"PATH": os.defpath}, Path("/"), host.find_user("nobody")
        )
        async with process.run_child(command, Output()):
            async with process.run_child(command, Output()):
                pass
            assert user_kill.kills == 0
            async with process.run_child(
                Command(("true",), {"PATH": os.defpath}, Path("/")), Output()
            ):
                pass
            assert user_kill.kills == 0  # root's own child
        assert user_kill.kills == 1

    run("asyncio", play())
