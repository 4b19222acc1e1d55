"""A child that cannot outlive its block, nor anything that it started: real, badly behaved ones."""

import asyncio
import ctypes
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from sidecar import host, process
from sidecar.errors import RunnerError
from sidecar.log.lines import LIMIT
from sidecar.process import Command, reaping
from tests.support.loops import on_both, run

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37

# A daemon as they are made: a session of its own, its parent gone, deaf to what asks it to end.
DAEMON = """\
import os, signal, sys, time
for deaf in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(deaf, signal.SIG_IGN)
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
def _others(monkeypatch):
    """Adopt orphans as the agent does, and spare the children of this test run's other parts."""
    libc = ctypes.CDLL(None)
    before = ctypes.c_int()
    libc.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    monkeypatch.setattr(process, "_alive", {int(pid) for pid in own})
    yield
    assert process._alive == {int(pid) for pid in own}
    libc.prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


class Heard:
    """Lines as they come; waits for one."""

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
    """Run a Python program as a child; gives it and what it says."""
    heard = Heard()
    argv = (sys.executable, "-c", program, *map(str, arguments))
    command = Command(argv, {"PATH": os.defpath} | (env or {}), Path("/"))
    async with process.running(command, heard) as running:
        yield running, heard


def alive(pid):
    """Tell whether a process is there and not a corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def exists(pid):
    """Tell whether there is anything left of a process, be it a corpse."""
    return Path(f"/proc/{pid}").exists()


@on_both
def test_a_child_is_heard_and_its_code_known(loop):
    """Both streams, told apart; nothing but the given environment; nothing to read from."""
    program = (
        "import os, sys\n"
        "print('out', sorted(os.environ), repr(sys.stdin.read()), os.getcwd())\n"
        "print('err', file=sys.stderr)\n"
        "sys.exit(7)\n"
    )

    async def life():
        async with child(program, env={"LC_ALL": "C.UTF-8"}) as (running, heard):
            assert running.running
            assert await running.ended == 7
            assert not running.running
            running.interrupt()  # nobody to interrupt, nothing to raise
        assert sorted(heard.lines) == [("stderr", "err"), ("stdout", "out ['LC_ALL', 'PATH'] '' /")]
        assert not exists(running.pid)

    with capture_logs() as logs:
        run(loop, life())
    assert logs == []


@on_both
def test_what_it_wrote_before_its_end_is_heard(loop):
    """The last words without a line end, and a megabyte in one line, cut."""
    program = "import sys; sys.stdout.write('x' * 1000000 + '\\nlast words')"

    async def life():
        async with child(program) as (running, heard):
            await running.ended
            await running.heard_out()
            return list(heard.lines)

    assert run(loop, life()) == [
        ("stdout", "x" * LIMIT + f" [{1000000 - LIMIT} bytes cut]"),
        ("stdout", "last words"),
    ]


@on_both
def test_a_child_is_gone_after_its_block(loop):
    """Whether the block ends well or with an error, and however deaf the child is."""
    deaf = (
        "import signal, time\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(60)\n"
    )
    pids = []

    async def life():
        async with child(deaf) as (running, heard):
            pids.append(running.pid)
            await heard.line("deaf")
            running.interrupt()
            raise ValueError("of the block")

    with capture_logs() as logs, pytest.raises(ValueError, match="of the block"):
        run(loop, life())
    assert not exists(*pids)
    assert [(log["event"], log["pid"]) for log in logs] == [("process.killed", *pids)]


@on_both
def test_an_interrupt_reaches_the_child_alone(loop):
    """Its own children hear nothing: the runner decides what becomes of a job's steps."""
    program = (
        "import signal, subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', '''\n"
        "import signal, time\n"
        'signal.signal(signal.SIGINT, lambda *_: print("grandchild heard", flush=True))\n'
        'print("ready", flush=True)\n'
        "time.sleep(60)\n"
        "'''])\n"
        "def heard(*_):\n"
        "    print('child heard', flush=True)\n"
        "    sys.exit(3)\n"
        "signal.signal(signal.SIGINT, heard)\n"
        "print('set', flush=True)\n"
        "grandchild.wait()\n"
    )

    async def life():
        async with child(program) as (running, heard):
            await heard.line("set")
            await heard.line("ready")
            running.interrupt()
            assert await running.ended == 3
        assert ("stdout", "child heard") in heard.lines
        assert not any("grandchild heard" in line for _, line in heard.lines)

    run(loop, life())


@on_both
@pytest.mark.parametrize("then", ["", "time.sleep(60)"], ids=["parent-ended", "parent-lives"])
def test_a_daemon_does_not_outlive_the_block(loop, tmp_path, then):
    """Forked twice, in a session of its own and deaf, it is found, killed and collected."""
    pidfile = tmp_path / "pid"
    program = DAEMON.format(closes=True, pidfile=str(pidfile), then=then)

    async def life():
        async with child(program) as (running, heard):
            await heard.line("daemon is up")
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
def test_a_pipe_held_open_does_not_hold_the_life(loop, tmp_path, monkeypatch):
    """A daemon that cannot be killed keeps the pipe; its output is waited for a moment only."""
    monkeypatch.setattr(process, "DRAIN_OUTPUT", 0.1)
    monkeypatch.setattr(host, "kill_leftovers", lambda *_, **__: 0)
    pidfile = tmp_path / "pid"
    program = DAEMON.format(closes=False, pidfile=str(pidfile), then="print('bye')")

    async def life():
        async with child(program) as (running, heard):
            assert await running.ended == 0
        assert heard.lines == [("stdout", "daemon is up"), ("stdout", "bye")]

    run(loop, life(), timeout=10)
    daemon = int(pidfile.read_text())
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)
    os.waitpid(daemon, 0)


@on_both
def test_what_cannot_be_killed_is_given_up(loop, monkeypatch):
    """A process that stays (in a hung file system, say) ends the rounds, not the agent."""
    monkeypatch.setattr(process, "KILL_ROUNDS", 3)
    rounds = []
    monkeypatch.setattr(host, "kill_leftovers", lambda root, **_: rounds.append(root) or 0)

    async def life():
        async with child("import time; print('up', flush=True); time.sleep(60)") as (
            running,
            heard,
        ):
            await heard.line("up")
            assert await running.kill() == 0
            assert rounds == [running.pid] * 3
            monkeypatch.undo()
            monkeypatch.setattr(process, "_alive", set(process._alive) | {running.pid})

    before = set(process._alive)
    run(loop, life())
    process._alive.clear()
    process._alive.update(before)


@on_both
def test_one_child_s_end_spares_the_other_and_its_own(loop):
    """Removing the runner while the listener runs kills nothing of the listener's."""
    family = (
        "import subprocess, sys\n"
        "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('grandchild', grandchild.pid, flush=True)\n"
        "grandchild.wait()\n"
    )

    async def life():
        async with child(family) as (one, heard):
            await heard.line("grandchild")
            grandchild = int(heard.lines[0][1].split()[1])
            async with child("import time; print('up', flush=True); time.sleep(60)") as (
                two,
                other,
            ):
                await other.line("up")
            assert not alive(two.pid)
            assert one.running
            assert alive(grandchild)
        assert not exists(one.pid)
        assert not exists(grandchild)

    run(loop, life())


@on_both
def test_orphans_are_collected_without_stealing_a_child(loop, tmp_path):
    """What was adopted and dies leaves no corpse; a child's own exit code is still told."""
    pidfile = tmp_path / "pid"
    program = DAEMON.format(
        closes=True, pidfile=str(pidfile), then="sys.stdin.close(); sys.exit(5)"
    ).replace("time.sleep(60)", "time.sleep(0.05)")

    async def life():
        async with reaping(every=0.01):
            codes = []
            for _ in range(3):
                pidfile.unlink(missing_ok=True)
                async with child(program) as (running, _):
                    codes.append(await running.ended)
                    orphan = int(pidfile.read_text())
                    while exists(orphan):  # noqa: ASYNC110  nothing announces it
                        await asyncio.sleep(0)
            assert codes == [5, 5, 5]

    run(loop, life())


@on_both
def test_a_program_that_cannot_be_started_is_an_error(loop, tmp_path):
    """Missing, or not to be executed: the reason is the system's."""
    plain = tmp_path / "plain"
    plain.write_text("no program")

    async def start(path):
        async with process.running(Command((str(path),), {}, tmp_path), Heard()):
            pass

    with pytest.raises(RunnerError, match=r"^cannot start .*/missing: No such file or directory$"):
        run(loop, start(tmp_path / "missing"))
    with pytest.raises(RunnerError, match=r"^cannot start .*/plain: Permission denied$"):
        run(loop, start(plain))


def test_a_command_does_not_show_its_environment():
    """It holds the token."""
    assert "SECRET" not in repr(Command(("x",), {"T": "SECRET"}, Path("/")))


@on_both
def test_a_child_that_outlives_the_loop_is_no_matter(loop):
    """Its waiting thread finds the loop closed and lets go quietly."""
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


def test_a_child_that_nobody_could_wait_for_is_not_left_running(monkeypatch):
    """At the limit of processes a thread cannot be had: what was just started ends with that."""
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
            async with process.running(
                Command(("sleep", "600"), dict(os.environ), Path.cwd()), lambda *_: None
            ):
                pass

    asyncio.run(play())
    assert started[0].returncode == -signal.SIGKILL
