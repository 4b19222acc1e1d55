"""Take the runner's user at the beginning of a life; `tests/adversary` does it with real ones."""

import asyncio
import os

import pytest
from structlog.testing import capture_logs

from sidecar import host, process
from sidecar.runner import user_processes
from sidecar.runner.state_file import Beginning, StateFile
from sidecar.runner.user_processes import own_user

USER = host.User("runner", 4242, 4242, (4242,), "/")


class Killer:
    """Stands for the process that kills; `answers` says whether it does anything."""

    pid = 0

    def __init__(self, *, answers=True):
        self.answers = answers
        self.orders = []

    async def aim(self, uid):
        """Take one order."""
        self.orders.append(("aim", uid))
        return self.answers

    async def slow_down(self, uid):
        """Take one order."""
        self.orders.append(("slow down", uid))
        return self.answers

    async def kill_all(self, uid):
        """Take one order."""
        self.orders.append(("kill", uid))
        return self.answers


@pytest.fixture
def system(monkeypatch):
    """Let the agent be the first process of its container; returns what can be changed."""
    found = {}
    monkeypatch.setattr(host, "explain_shared_space", lambda: None)
    monkeypatch.setattr(host, "list_other_killers", lambda _own: [])
    monkeypatch.setattr(host, "describe_process_space", lambda: "here")
    monkeypatch.setattr(host, "list_user_processes", lambda _uid: dict(found))
    monkeypatch.setattr(host, "read_start", lambda _pid: 50)
    monkeypatch.setattr(process.user_kill, "killer", None)
    monkeypatch.setattr(process.user_kill, "uid", None)
    monkeypatch.setattr(user_processes, "LEFTOVER_TIMEOUT", 0.01)
    return found


def take(killer, user=USER, state_file=None):
    """Take the user; return the events, each with its reason."""
    process.user_kill.killer = killer
    with capture_logs() as events:
        asyncio.run(own_user(user, state_file))
    return [(event["event"], event.get("reason")) for event in events]


def test_a_user_without_processes_is_taken(system):
    """From then on its processes are killed and slowed down by its id."""
    killer = Killer()
    assert take(killer) == []
    asyncio.run(process.user_kill.slow_down())
    assert asyncio.run(process.user_kill.kill())
    assert killer.orders == [("aim", 4242), ("slow down", 4242), ("kill", 4242)]


@pytest.mark.parametrize(
    ("killer", "user", "reason"),
    [
        (Killer(), None, "jobs have the agent's own user"),
        (Killer(), host.User("root", 0, 0, (0,), "/root"), "jobs have the agent's own user"),
        (None, USER, "there was no room for the process that kills"),
        (Killer(answers=False), USER, "the process that kills does not answer"),
    ],
    ids=["not root", "root's jobs", "no room", "no answer"],
)
def test_without_the_means_the_reason_is_logged(system, killer, user, reason):
    """Nothing is killed by id then."""
    assert take(killer, user) == [("process.kill_limited", reason)]
    assert not asyncio.run(process.user_kill.kill())
    assert process.user_kill.uid is None


def test_a_system_with_other_means_logs_nothing(system, monkeypatch):
    """Windows ends a child's processes by their job object."""
    monkeypatch.setattr(host, "explain_shared_space", lambda: "")
    assert take(Killer()) == []
    assert process.user_kill.uid is None


def test_an_unreadable_proc_is_a_reason(system, monkeypatch):
    """The life goes on."""

    def fail():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(host, "describe_process_space", fail)
    assert take(Killer()) == [
        ("process.kill_limited", "/proc cannot be read: No such file or directory")
    ]


def save_beginning(path, began):
    """Write what an agent writes that is killed later."""
    file = StateFile(path)
    file.set_beginning(began)
    file.save_runner("runner", unique=True)


@pytest.mark.parametrize(
    ("began", "killed"),
    [
        (Beginning("here", 10), True),
        (Beginning("here", 21), False),
        (Beginning("elsewhere", 10), False),
        (None, False),
    ],
    ids=["later", "earlier", "another namespace", "not alone"],
)
def test_only_a_killed_agents_own_processes_are_killed(system, tmp_path, began, killed):
    """That is, those that began after it, where its user had none."""
    system[7] = 20
    save_beginning(tmp_path / "state", began)
    killer = Killer()
    events = [event for event, _ in take(killer, USER, StateFile(tmp_path / "state"))]
    assert events == ["process.leftovers_killed" if killed else "process.kill_limited"]
    assert (("kill", 4242) in killer.orders) is killed


def test_a_beginning_counts_for_the_next_life_alone(system, tmp_path):
    """The next one that is killed writes its own; one that is not leaves nothing behind."""
    save_beginning(tmp_path / "state", Beginning("here", 10))
    file = StateFile(tmp_path / "state")
    assert take(Killer(), USER, file) == []
    assert [runner.began for runner in StateFile(tmp_path / "state").read()] == [None]
    file.save_runner("next", unique=True)
    began = [runner.began for runner in StateFile(tmp_path / "state").read()]
    assert began == [Beginning("here", 50), None]


def test_another_agent_is_told_and_left_alone(system, monkeypatch):
    """Neither kills by id any more: their jobs have the same one."""
    told = []
    monkeypatch.setattr(user_processes, "KILLER_TIMEOUT", 0.01)
    monkeypatch.setattr(host, "list_other_killers", lambda _own: [77])
    monkeypatch.setattr(host, "disable_killer", told.append)
    killer = Killer()
    assert take(killer) == [("process.kill_limited", "another agent lives in this pid namespace")]
    assert (told, killer.orders) == ([77], [])


def test_a_killer_that_no_longer_answers_is_logged_once(system):
    """From then on only the list of processes is used."""
    killer = Killer()
    take(killer)
    killer.answers = False
    with capture_logs() as events:
        assert not asyncio.run(process.user_kill.kill())
        assert not asyncio.run(process.user_kill.kill())
    assert [event["event"] for event in events] == ["process.kill_limited"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
def test_an_unprivileged_agent_has_no_killer(monkeypatch):
    """It could not take another id."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert host.fork_killer() is None
