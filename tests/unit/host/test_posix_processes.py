"""The agent's children on POSIX."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import host
from tests.support.loops import on_both, run
from tests.unit.host.nobody import NOBODY

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

from sidecar.host import posix_processes

WAIT = "echo up\nwhile :; do sleep 0.05; done\n"
"""The end of a program that waits for a signal."""


@pytest.mark.root
def test_a_child_becomes_the_runner_s_user(tmp_path):
    """User, group and groups are all that user's; none of root's is left."""
    child = host.spawn(["sh", "-c", "id -u; id -g; id -G"], {"PATH": os.defpath}, Path("/"), NOBODY)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, b"")
    uid, gid, groups = out.decode().splitlines()
    assert (int(uid), int(gid)) == (NOBODY.uid, NOBODY.gid)
    assert {int(group) for group in groups.split()} == set(NOBODY.groups)


class OpenPipe:
    """The reading end of a pipe, which says whether it was still open when it was closed."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.closed_by_others = None

    def fileno(self):
        """Return the descriptor."""
        return self.descriptor

    def close(self):
        """Close it, if it is there."""
        try:
            os.close(self.descriptor)
            self.closed_by_others = False
        except OSError:
            self.closed_by_others = True


@on_both
def test_a_pipe_is_read_to_its_end_and_closed_once(loop):
    """Closed twice, it would take away the file of a thread that got the same number meanwhile."""
    reading, writing = os.pipe()
    pipe, chunks = OpenPipe(reading), []

    async def read():
        os.write(writing, b"one")
        task = asyncio.create_task(host.read_pipe(pipe, chunks.append))
        os.write(writing, b"two")
        os.close(writing)
        await task

    run(loop, read())
    assert b"".join(chunks) == b"onetwo"
    assert pipe.closed_by_others is False


@on_both
def test_a_pipe_is_closed_where_its_reader_is_given_up(loop):
    """Its writer may live on, as a job's daemon does."""
    reading, writing = os.pipe()
    pipe, read = OpenPipe(reading), asyncio.Event()

    async def give_up():
        os.write(writing, b"one")
        task = asyncio.create_task(host.read_pipe(pipe, lambda _: read.set()))
        await read.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(loop, give_up())
    os.close(writing)
    assert pipe.closed_by_others is False


def test_an_interrupt_for_an_ended_child_is_no_error():
    """It may have just ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(30)
    host.interrupt(child.pid)


def test_a_descendant_is_found_by_its_program_s_name(tmp_path):
    """At any depth; by its name, not by an argument; not outside the tree."""
    worker = tmp_path / "Runner.Worker"
    worker.write_text('#!/bin/sh\necho "up $1"\nread line\n')
    worker.chmod(0o755)
    with subprocess.Popen(
        ["sh", "-c", 'sh -c \'"$0" spawnclient; :\' "$0"; :', worker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline() == b"up spawnclient\n"
        assert host.has_descendant(child.pid, "Runner.Worker")
        assert host.has_descendant(os.getpid(), "Runner.Worker")
        assert not host.has_descendant(child.pid, "Runner.Work")
        child.stdin.close()
    assert not host.has_descendant(child.pid, "Runner.Worker")


def test_only_the_named_children_are_terminated(tmp_path):
    """Not a grandchild of that name, nor a child of another name: a job can name its own so."""
    worker, other = tmp_path / "Runner.Worker", tmp_path / "other) S 1 ("
    for program, name in ((worker, "child"), (other, "other")):
        program.write_text(f"#!/bin/sh\ntrap 'echo {name} asked; exit' TERM\n" + WAIT)
        program.chmod(0o755)
    nested = f'sh -c \'trap "echo nested asked; exit" TERM; "{worker}" x; :\' &'
    script = f'"{worker}" & "{other}" & {nested} wait; wait; wait; wait'
    (tmp_path / "go").touch()
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, cwd=tmp_path) as child:
        assert sorted(child.stdout.readline() for _ in range(3)) == [b"up\n"] * 3
        assert host.terminate_children(child.pid, "Runner.Worker") == 1
        assert child.stdout.readline() == b"child asked\n"
        assert host.terminate_children(os.getpid(), "Runner.Worker") == 0
        assert host.kill_leftovers(child.pid, spare=()) > 0


def test_a_process_that_only_got_a_childs_number_is_not_hit(tmp_path, monkeypatch):
    """Between the look and the pidfd the child may end, and its number go to another process."""
    looked = iter([("Runner.Worker", "S", os.getpid()), ("other", "S", os.getpid())])
    monkeypatch.setattr(posix_processes, "_read_stat", lambda _pid: next(looked))
    with subprocess.Popen(["sh", "-c", "trap 'exit 3' TERM; read x"], stdin=-1) as child:
        assert not posix_processes._terminate(child.pid, os.getpid(), "Runner.Worker")
        child.stdin.close()
        assert child.wait(30) != 3


def test_without_pidfds_nothing_is_terminated(monkeypatch):
    """An old kernel, or a container that forbids the call: the listener's interrupt must do."""

    def refuse(_pid):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(posix_processes.os, "pidfd_open", refuse)
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert host.terminate_children(os.getppid(), name) == 0


def test_without_proc_the_session_is_killed(monkeypatch):
    """Other Unix systems have no /proc: there at least the child's session is killed."""
    monkeypatch.setattr(posix_processes, "_living_tree", lambda: None)
    with host.spawn(
        ["sh", "-c", "sleep 60 & echo up; wait"], {"PATH": os.defpath}, Path("/"), None
    ) as child:
        assert child.stdout.readline() == b"up\n"
        assert host.kill_leftovers(child.pid, spare=()) == 1
        assert child.wait(30) == -signal.SIGKILL
        assert child.stdout.read() == b""  # no process holds the pipe any more
    with host.spawn(["true"], {"PATH": os.defpath}, Path("/"), None) as child:
        child.wait(30)
    assert host.kill_leftovers(child.pid, spare=()) == 0
    assert host.kill_leftovers(None, spare=()) == 0
    assert not host.has_descendant(os.getpid(), "Runner.Worker")


def test_a_system_without_proc_is_noticed(monkeypatch):
    """A missing /proc is no error."""

    def missing(_path):
        raise FileNotFoundError

    monkeypatch.setattr(posix_processes.os, "listdir", missing)
    assert posix_processes._living_tree() is None
    assert host.terminate_children(os.getpid(), "Runner.Worker") == 0
    assert host.list_dead_children() == []


@pytest.mark.root
def test_a_process_that_may_not_be_killed_is_not_counted():
    """An agent that is not root cannot kill another user's process, and goes on."""
    program = (
        "import os, sys\n"
        "from sidecar.host import posix_processes\n"
        "os.setuid(int(sys.argv[1]))\n"
        "print(posix_processes._kill(os.getppid()))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program, str(NOBODY.uid)],
        cwd=Path(posix_processes.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert output == "False\n"


def test_only_dead_children_that_nobody_waits_for_are_collected():
    """None without children; all but those that are waited for, whichever is first."""
    program = (
        "import os\n"
        "from sidecar.host import posix_processes\n"
        "assert posix_processes.reap_orphans(lambda pid: False) == 0\n"
        "children = []\n"
        "for _ in range(3):\n"
        "    children.append(os.fork())\n"
        "    if children[-1] == 0:\n"
        "        os._exit(0)\n"
        "for child in children:\n"
        "    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)\n"
        "assert posix_processes.reap_orphans(lambda pid: True) == 0\n"
        "assert posix_processes.reap_orphans(lambda pid: pid == children[0]) == 2\n"
        "assert posix_processes.list_dead_children() == children[:1]\n"
        "assert posix_processes.reap_orphans(lambda pid: False) == 1\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.close(write)\n"
        "    os.read(read, 1)\n"
        "    os._exit(0)\n"
        "assert posix_processes.reap_orphans(lambda pid: False) == 0\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(posix_processes.__file__).parents[2],
        check=True,
        timeout=30,
    )
