"""What becomes of containers, as a daemon tells it, and as it does not."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from sidecar.docker import container_listener
from tests.unit.docker.test_engine import daemon, played

ONE, TWO = "1" * 64, "2" * 64


class ContainerEventHandler:
    """Remembers all that is heard."""

    def __init__(self, *known: str) -> None:
        self.containers = set(known)
        self.heard: list[tuple[str, str]] = []
        self.news = asyncio.Event()

        self.runs, self.rests, self.died = (
            partial(self._hear, what) for what in ("runs", "rests", "died")
        )

    def _hear(self, what: str, container: str) -> None:
        self.heard.append((what, container))
        self.news.set()

    def known(self) -> set[str]:
        """Return those that are of interest."""
        return self.containers


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(container_listener, "_AGAIN", 0.01)
    monkeypatch.setattr(container_listener, "_AGAIN_MOST", 0.01)


def event(action: str, container: str) -> bytes:
    """Return an event as the daemon tells it."""
    return json.dumps({"Type": "container", "Action": action, "Actor": {"ID": container}}).encode()


def heard(folder, answers, handler, rounds: int = 2) -> list[tuple[str, str]]:
    """Follow until the daemon has ended its events so often; give what was heard."""

    async def play():
        async with daemon(folder, answers) as (engine, asked):
            task = asyncio.create_task(container_listener.follow_containers(engine, handler))
            for _ in range(rounds):
                while await asked.get() != "/events":
                    pass
            task.cancel()
            await asyncio.wait([task])
        return handler.heard

    return played(play())


def test_events_are_told(tmp_path):
    """Each as what it means for the container's path."""
    lines = [event(action, ONE) + b"\n" for action in ("start", "die", "destroy")]
    found = heard(tmp_path, {"/events": lines}, ContainerEventHandler())
    assert found[:3] == [("runs", ONE), ("rests", ONE), ("died", ONE)]


def test_what_nobody_expects_ends_nothing(tmp_path):
    """A daemon of another kind may tell otherwise; it is asked again."""
    odd = [b'{"Action":"die","Actor":["x"]}\n', b'{"Action":{"a":1}}\n']
    states = {"message": "no list"}
    heard(tmp_path, {"/containers/json": states, "/events": odd}, ContainerEventHandler(ONE))


def test_after_a_gap_the_daemon_s_list_decides(tmp_path):
    """Who is not there is gone, who has stopped rests; who runs has its path wherever it is now."""
    handler = ContainerEventHandler(ONE, TWO, "3", "4")
    states = [
        {"Id": TWO, "State": "exited"},
        {"Id": "3", "State": "running"},
        {"Id": "4", "State": "created"},
        "nonsense",
    ]
    found = heard(tmp_path, {"/containers/json": states, "/events": []}, handler)
    assert set(found) == {("died", ONE), ("rests", TWO), ("rests", "3"), ("runs", "3")}
    assert found.index(("rests", "3")) < found.index(("runs", "3"))


def test_a_daemon_that_is_not_there_is_asked_again(tmp_path):
    """Until it is."""

    async def play():
        engine = following_engine(tmp_path)
        handler = ContainerEventHandler()
        task = asyncio.create_task(container_listener.follow_containers(engine, handler))
        await asyncio.sleep(0)
        async with daemon(tmp_path, {"/events": [event("die", ONE) + b"\n"]}):
            await handler.news.wait()
        task.cancel()
        await asyncio.wait([task])
        assert handler.heard[0] == ("rests", ONE)

    played(play())


def following_engine(folder):
    """Name a daemon that is not there yet."""
    from sidecar.docker.engine import Engine

    return Engine(f"unix://{folder / 'docker.sock'}")


@pytest.mark.parametrize(
    ("mode", "addresses", "found"),
    [
        ("default", ["172.17.0.2"], {"172.17.0.2"}),
        ("a", ["172.18.0.2", "172.19.0.3", ""], {"172.18.0.2", "172.19.0.3"}),
        ("bridge", [""], set()),
        ("host", [""], None),
        ("container:x", [], None),
    ],
)
def test_addresses_are_those_of_its_networks(mode, addresses, found):
    """None where it has the address of another: the daemon's machine, or another container."""
    networks = {str(number): {"IPAddress": one} for number, one in enumerate(addresses)}
    inspected = {"HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks}}
    assert container_listener.addresses(inspected) == (None if found is None else frozenset(found))
    assert container_listener.addresses([]) == frozenset()
