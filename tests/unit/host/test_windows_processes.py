"""The agent's children on Windows: job objects, a snapshot of the processes, Ctrl-Break."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

if sys.platform != "win32":
    pytest.skip("needs Windows (make test-windows)", allow_module_level=True)

from sidecar import host, process
from sidecar.host.win32 import console, jobs, snapshot
from tests.support.windows import IS_WINE, has_ended, opened

ROOT = Path(jobs.__file__).parents[3]
SLEEPER = "import sys; print('up', flush=True); sys.stdin.read()"
ORPHAN = (
    "import subprocess, sys\n"
    "orphan = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],\n"
    "    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "print(orphan.pid, flush=True)\n"
)
"""A program that ends at once, and leaves another one behind."""
WAITING_ORPHAN = ORPHAN + "orphan.wait()\n"


def spawn(program, **env):
    """Start a Python program as a child of the agent's."""
    argv = [sys.executable, "-c", program]
    return host.spawn(argv, os.environ | env, Path.cwd(), None)


def is_running(pid):
    """Whether a snapshot of the system's processes has this one."""
    return pid in [running.pid for running in snapshot.list_processes()]


@pytest.fixture
def spawned():
    """Give `spawn`; kill all that was started by it."""
    with ExitStack() as stack:
        yield lambda program, **env: stack.enter_context(spawn(program, **env))
        while host.kill_leftovers(None, spare=()) or host.list_dead_children():
            pass


def test_nothing_of_a_child_survives_it(spawned):
    """Also what has no parent any more, which a tree of processes does not show."""
    child = spawned(ORPHAN)
    orphan = int(child.stdout.readline())
    with opened(orphan) as ending:
        assert host.wait_for_exit(child) == 0
        assert is_running(orphan)
        assert host.list_children() == [orphan]
        assert host.kill_leftovers(None, spare=()) == 1
        assert has_ended(ending)
    assert not is_running(orphan)
    assert host.kill_leftovers(None, spare=()) == 0
    assert host.list_children() == host.list_dead_children() == []


def test_a_killed_child_has_the_exit_code_of_a_kill(spawned):
    """As on POSIX, so that nobody takes it for the program's own."""
    child = spawned(WAITING_ORPHAN)
    orphan = int(child.stdout.readline())
    with opened(orphan) as ending:
        assert host.kill_leftovers(child.pid, spare=()) == 2
        assert host.wait_for_exit(child) == -9
        assert has_ended(ending)


@pytest.mark.parametrize("code", [0, 7, 143, 0xC0000005, 0xC000013A])
def test_a_child_s_own_exit_code_has_no_sign(spawned, code):
    """A crash is a large number."""
    child = spawned(f"import ctypes, os; os._exit(ctypes.c_int32({code}).value)")
    assert host.wait_for_exit(child) == code


def test_a_spared_child_goes_on(spawned):
    """With all that it started."""
    spared, other = spawned(WAITING_ORPHAN), spawned(WAITING_ORPHAN)
    kept, ended = int(spared.stdout.readline()), int(other.stdout.readline())
    with opened(ended) as ending:
        assert host.kill_leftovers(other.pid, spare=(spared.pid,)) == 2
        assert has_ended(ending)
    assert is_running(kept)
    assert spared.poll() is None


def test_nothing_survives_the_agent_s_own_death():
    """However it dies: here it is terminated, and can do nothing any more."""
    agent = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sidecar import host\n"
        "host.harden()\n"
        f"child = host.spawn([sys.executable, '-c', {WAITING_ORPHAN!r}], os.environ, Path.cwd(), "
        "None)\n"
        f"other = host.spawn([sys.executable, '-c', {ORPHAN!r}], os.environ, Path.cwd(), None)\n"
        "print(child.pid, int(child.stdout.readline()), int(other.stdout.readline()), flush=True)\n"
        "child.wait()\n"
    )
    argv = [sys.executable, "-c", agent]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as popen, ExitStack() as stack:
        pids = [int(word) for word in popen.stdout.readline().split()]
        assert len(pids) == 3
        processes = [stack.enter_context(opened(pid)) for pid in pids]
        popen.terminate()
        popen.wait(20)
        assert all(map(has_ended, processes))
    assert not any(map(is_running, pids))


def test_no_process_can_leave_its_job_object(spawned):
    """The system refuses to start one outside it."""
    child = spawned(
        "import subprocess, sys\n"
        "try:\n"
        "    subprocess.Popen([sys.executable, '-c', ''],\n"
        "        creationflags=subprocess.CREATE_BREAKAWAY_FROM_JOB).wait()\n"
        "except PermissionError:\n"
        "    print('refused')\n"
        "else:\n"
        "    print('left')\n"
    )
    assert child.communicate(timeout=60)[0].split() == [b"refused"]


def test_a_child_may_have_a_job_object_of_its_own(spawned):
    """It is within the agent's, and ends with it; build tools have one."""
    nested = "from sidecar.host.win32 import jobs\njobs.Job().add_this_process()\n"
    child = spawned(nested + WAITING_ORPHAN, PYTHONPATH=str(ROOT))
    orphan = int(child.stdout.readline())
    with opened(orphan) as ending:
        assert host.kill_leftovers(child.pid, spare=()) == 2
        assert has_ended(ending)


def test_a_child_that_cannot_be_put_into_its_job_object_is_not_started(monkeypatch):
    """It would survive the agent: the start fails, and nothing is left."""
    started = []

    def refuse(_self, pid):
        started.append(pid)
        raise OSError("refused")

    monkeypatch.setattr(jobs.Job, "add_and_resume", refuse)
    with pytest.raises(OSError, match="refused"):
        spawn(SLEEPER)
    assert not is_running(started[0])
    assert host.list_children() == []


def test_a_program_that_is_missing_leaves_nothing():
    """The error is that of the start."""
    with pytest.raises(FileNotFoundError):
        host.spawn(["no-such-program.exe"], os.environ, Path.cwd(), None)
    assert host.list_children() == []


def test_a_descendant_is_found_by_its_program_s_name(spawned, tmp_path):
    """At any depth, also below a parent that has ended; by its name, not by an argument."""
    worker = tmp_path / "Runner.Worker.exe"
    program = (
        "import subprocess, sys\n"
        f"worker = subprocess.Popen([{str(worker)!r}, '/d', '/c', 'pause'],\n"
        "    stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(worker.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    shutil.copy(Path(os.environ["SYSTEMROOT"]) / "system32" / "cmd.exe", worker)
    child = spawned(
        "import subprocess, sys\n"
        f"middle = subprocess.Popen([sys.executable, '-c', {program!r}, 'Runner.Listener.exe'],\n"
        "    stdin=subprocess.PIPE)\n"
        "middle.wait()\n"
    )
    pid = int(child.stdout.readline())
    assert host.find_descendants(child.pid, "runner.worker.EXE") == [pid]
    assert host.has_descendant(child.pid, "Runner.Worker.exe")
    assert host.has_descendant(os.getpid(), "Runner.Worker.exe")
    assert not host.has_descendant(child.pid, "Runner.Listener.exe")
    assert not host.has_descendant(pid, Path(sys.executable).name)


def test_a_variable_has_one_name(spawned):
    """NO_PROXY and no_proxy are one name here: the last value counts."""
    read = (
        "import ctypes\n"
        "strings = ctypes.windll.kernel32.GetEnvironmentStringsW\n"
        "strings.restype = ctypes.c_void_p\n"
        "block, names = strings(), []\n"
        "while text := ctypes.wstring_at(block):\n"
        "    names.append(text)\n"
        "    block += 2 * len(text) + 2\n"
        "print([name for name in names if name.upper().startswith('NO_PROXY=')])\n"
    )
    child = spawned(read, NO_PROXY="first", no_proxy="second")
    assert child.communicate(timeout=60)[0].split() == [b"['NO_PROXY=second']"]


def test_the_life_of_a_child_waits_for_all_that_it_started():
    """Then it is over: the last process has ended by itself."""
    orphan = (
        "import socket; server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True); server.accept()\n"
    )
    program = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {orphan!r}])\n"

    async def life():
        port = asyncio.get_running_loop().create_future()
        argv = (sys.executable, "-c", program)
        command = process.Command(argv, os.environ, Path.cwd())
        async with process.run_child(command, lambda _, line: port.set_result(line)) as running:
            assert await running.ended == 0
            waiting = asyncio.create_task(running.wait_for_tree())
            orphans = int(await port)
            assert not waiting.done()
            with await asyncio.to_thread(socket.create_connection, ("127.0.0.1", orphans), 20):
                await waiting
            assert host.list_children() == []

    with asyncio.Runner(loop_factory=asyncio.ProactorEventLoop) as runner:
        runner.run(asyncio.wait_for(life(), 60))


# ---- interrupts --------------------------------------------------------------------------------

TOLD = (
    "import os, signal, sys, time\n"
    # `print` may be running when the signal comes, and would fail then.
    "signal.signal(signal.SIGBREAK, lambda *_: (os.write(1, b'told\\n'), sys.exit(5)))\n"
    "print('up', flush=True)\n"
    "while True: time.sleep(0.05)\n"
)


@pytest.mark.skipif(not IS_WINE, reason="only under wine is there no console at all")
def test_an_interrupt_that_cannot_be_sent_is_a_reason_and_kills_nobody(spawned):
    """CPython's own `os.kill` terminates the process then, with its listener's job."""
    child = spawned(WAITING_ORPHAN)
    child.stdout.readline()
    assert host.interrupt(child.pid) == host.forward_signal(child.pid, "SIGTERM")
    assert host.interrupt(child.pid).startswith(f"Ctrl-Break cannot be sent to {child.pid}: ")
    assert child.poll() is None


def test_ctrl_break_is_sent_to_no_process_that_leads_no_group(spawned, monkeypatch):
    """Windows may send it to every process of the console then, and so to the agent."""
    sent = []
    monkeypatch.setattr(console, "send_break", sent.append)
    child = spawned(WAITING_ORPHAN)
    pid = int(child.stdout.readline())
    assert host.interrupt(pid) == f"Ctrl-Break cannot be sent to {pid}: it leads no process group"
    assert host.interrupt(child.pid) is None
    assert sent == [child.pid]


@pytest.mark.skipif(IS_WINE, reason="wine has no console here, and kills by Ctrl-Break")
@pytest.mark.parametrize("flags", [0, subprocess.DETACHED_PROCESS])
def test_a_child_gets_ctrl_break_alone(flags):
    """Whether the agent has a console, or its child got one of its own."""
    agent = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sidecar import host\n"
        f"child = host.spawn([sys.executable, '-c', {TOLD!r}], os.environ, Path.cwd(), None)\n"
        "child.stdout.readline()\n"
        "reason = host.interrupt(child.pid)\n"
        "print(reason, child.stdout.readline(), child.wait(20), flush=True)\n"
    )
    argv = [sys.executable, "-c", agent]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, creationflags=flags) as popen:
        assert popen.communicate(timeout=60)[0].strip() == rb"None b'told\n' 5"
