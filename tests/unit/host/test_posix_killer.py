"""The process that kills by user; `tests/adversary` plays it against attacks."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sidecar import host

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

import posix

from sidecar.host import posix_killer
from sidecar.host.posix_killer import Killer


@pytest.fixture
def pipes():
    """Open both pipes between the two, at both ends."""
    orders, answers = os.pipe(), os.pipe()
    os.set_blocking(answers[0], False)
    yield orders, answers
    for descriptor in (*orders, *answers):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test has closed it


def list_open_pipes():
    """Return the pipes of this process; sockets of other threads come and go."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(path.readlink()))
    return sorted(each for each in found if each.startswith("pipe:"))


@pytest.mark.root
def test_without_room_for_a_process_there_is_none(monkeypatch):
    """The agent starts all the same."""

    def fail():
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fail)
    before = list_open_pipes()
    assert host.fork_killer() is None
    assert list_open_pipes() == before


@pytest.mark.root
def test_it_ends_with_the_agent(monkeypatch):
    """Whoever sees the agent's end sees no child of it, and no open file is left."""
    # coverage.py's own first writes what all tests before have collected: that takes seconds.
    monkeypatch.setattr(os, "_exit", posix._exit)
    monkeypatch.setattr(posix_killer, "_ANSWER_TIMEOUT", 60.0)  # it may be slow, as all others
    before = list_open_pipes()
    killer = host.fork_killer()
    assert Path(f"/proc/{killer.pid}").exists()
    killer.end()
    assert not Path(f"/proc/{killer.pid}").exists()
    assert list_open_pipes() == before


def test_one_that_has_ended_does_nothing(pipes):
    """Return whether the order cannot be sent, or its answer never comes."""
    orders, answers = pipes
    killer = Killer(0, orders[1], answers[0])
    os.close(answers[1])
    assert not asyncio.run(killer.kill_all(4242))
    os.close(orders[0])
    assert not asyncio.run(killer.slow_down(4242))


def test_a_late_answer_is_not_taken_for_the_next_one(pipes, monkeypatch):
    """Each order has a number, and its answer the same one."""
    orders, answers = pipes
    killer = Killer(0, orders[1], answers[0])
    monkeypatch.setattr(posix_killer, "_ANSWER_TIMEOUT", 0.01)
    assert not asyncio.run(killer.aim(4242))
    os.write(answers[1], bytes((1, 1)))
    assert not asyncio.run(killer.kill_all(4242))
    os.write(answers[1], bytes((2, 0, 3, 1)))
    monkeypatch.setattr(posix_killer, "_ANSWER_TIMEOUT", 60.0)
    assert asyncio.run(killer.kill_all(4242))


def test_with_a_capability_left_nothing_is_killed(monkeypatch):
    """It would hit every process there is."""
    taken, killed = [], []
    monkeypatch.setattr(os, "setresuid", lambda *ids: taken.append(ids), raising=False)
    monkeypatch.setattr(posix_killer, "_has_no_capability", lambda: False)
    assert not posix_killer._act_as(4242, killed.append)
    assert (taken, killed) == ([(-1, 4242, -1), (-1, 0, -1)], [])


def test_a_refused_call_is_no_error(monkeypatch):
    """The list of processes is used then."""

    def fail(_uid):
        raise PermissionError

    monkeypatch.setattr(os, "setresuid", lambda *_ids: None, raising=False)
    monkeypatch.setattr(posix_killer, "_has_no_capability", lambda: True)
    assert not posix_killer._act_as(4242, fail)
