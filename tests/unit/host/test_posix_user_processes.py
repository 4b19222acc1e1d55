"""The processes of one user, and whether they can be another's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import host

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

from sidecar.host import posix_user_processes


def test_a_users_processes_are_listed_with_their_starts():
    """Living ones alone; a child's start is not before its parent's."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        found = host.list_user_processes(os.geteuid())
        assert found[child.pid] >= found[os.getpid()] == host.read_start(os.getpid()) > 0
        child.stdin.close()
        child.wait(30)
    assert child.pid not in host.list_user_processes(os.geteuid())


def test_a_pid_namespace_is_described_the_same_way_each_time():
    """By the machine's start, its own number, and the start of its first process."""
    described = host.describe_process_space()
    assert described == host.describe_process_space()
    space = Path("/proc/self/ns/pid").readlink()
    assert described.split()[1:] == [str(space), str(host.read_start(1))]


@pytest.mark.parametrize(
    ("space", "pid", "parent", "reason"),
    [
        ("pid:[4026531836]", 1, 0, "machine's own"),
        ("pid:[4026532000]", 1, 0, None),
        ("pid:[4026532000]", 9, 1, None),
        ("pid:[4026532000]", 9, 7, "others'"),
        ("pid:[4026532000]", 9, 0, "others'"),
    ],
    ids=["machine", "first", "init's child", "deeper", "another container's"],
)
def test_whose_the_pid_namespace_is(monkeypatch, space, pid, parent, reason):
    """The agent's, if the agent or its parent is the first process of a container."""
    monkeypatch.setattr(posix_user_processes, "_read_space", lambda: space)
    monkeypatch.setattr(os, "getpid", lambda: pid)
    monkeypatch.setattr(posix_user_processes, "_read_stat", lambda _pid: ("agent", "S", parent))
    found = host.explain_shared_space()
    assert found is None if reason is None else reason in found


def test_without_proc_nothing_is_known(monkeypatch):
    """Then only what the agent has started is killed."""

    def fail():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(posix_user_processes, "_read_space", fail)
    assert "No such file" in host.explain_shared_space()
