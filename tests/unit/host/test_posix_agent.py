"""The agent's own process on POSIX."""

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import host

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

from sidecar.host import posix_agent


def test_the_loop_is_uvloop_s_where_it_is_installed(monkeypatch):
    """Elsewhere it is asyncio's own, which asyncio chooses itself."""
    factory = host.loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        assert type(runner.get_loop()).__module__ == "uvloop"
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert host.loop_factory() is None


def test_hardening_hides_memory_and_adopts_orphans():
    """The process is not dumpable, and a grandchild becomes a child when its parent has ended."""
    program = (
        "import ctypes, os, time\n"
        "from sidecar import host\n"
        "host.unblock_stop_signals(print)\n"
        "host.harden()\n"
        "print('dumpable', ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "    os.read(read, 1)\n"
        "    os._exit(9)\n"
        "codes = []\n"
        "codes.append(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "os.write(write, b'x')\n"
        "codes.append(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "print('collected', codes)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(posix_agent.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout
    assert output.splitlines() == ["dumpable 0", "collected [0, 9]"]


@pytest.mark.parametrize(
    ("file", "count"),
    [
        (b"low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n", 2),
        (b"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        (b"low 0\n", 0),
    ],
    ids=["version 2", "version 1", "an old kernel's"],
)
def test_processes_killed_for_lack_of_memory_are_counted(monkeypatch, tmp_path, file, count):
    """With both versions of control groups; a missing file is no error."""
    path = tmp_path / "events"
    monkeypatch.setattr(posix_agent, "_MEMORY_EVENTS", (str(tmp_path / "none"), str(path)))
    assert host.count_memory_kills() == 0
    path.write_bytes(file)
    assert host.count_memory_kills() == count


def test_a_system_without_prctl_is_left_as_it_is(monkeypatch):
    """Only Linux has prctl; elsewhere hardening does nothing."""
    import ctypes

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    host.harden()


def test_the_limit_of_open_files_is_read(monkeypatch):
    """The soft limit counts; no limit is a very large number."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (300, 4096))
    assert host.max_open_files() == 300
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert host.max_open_files() > 10**9
