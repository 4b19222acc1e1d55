"""The container listener reports events, and compares with the engine's list after a gap."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from sidecar.docker import container_listener
from tests.unit.docker.fakes import fake_engine, run_bounded

ONE, TWO = "1" * 64, "2" * 64


class RecordingHandler:
    """Records all calls."""

    def __init__(self, *known: str) -> None:
        self.containers = set(known)
        self.received: list[tuple[str, str]] = []
        self.called = asyncio.Event()

        self.on_start, self.on_stop, self.on_removed, self.on_join, self.on_leave = (
            partial(self._record, what)
            for what in ("started", "stopped", "removed", "joined", "left")
        )

    def _record(self, what: str, container: str) -> None:
        self.received.append((what, container))
        self.called.set()

    def known(self) -> set[str]:
        """Return the containers to report."""
        return self.containers


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(container_listener, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(container_listener, "_LONGEST_PAUSE", 0.01)


def event(action: str, container: str) -> bytes:
    """Return an event as the engine sends it."""
    return json.dumps({"Type": "container", "Action": action, "Actor": {"ID": container}}).encode()


def follow(folder, answers, handler, rounds: int = 2) -> list[tuple[str, str]]:
    """Follow until the engine has ended its events so often; return the recorded calls."""

    async def scenario():
        async with fake_engine(folder, answers) as (engine, requests):
            task = asyncio.create_task(container_listener.follow_containers(engine, handler))
            for _ in range(rounds):
                while await requests.get() != "/events":
                    pass
            task.cancel()
            await asyncio.wait([task])
        return handler.received

    return run_bounded(scenario())


def test_events_are_reported(tmp_path):
    """Each event is reported as what it means for the container."""
    lines = [event(action, ONE) + b"\n" for action in ("start", "die", "destroy")]
    found = follow(tmp_path, {"/events": lines}, RecordingHandler())
    assert found[:3] == [("started", ONE), ("stopped", ONE), ("removed", ONE)]


def test_networks_are_reported_by_their_containers(tmp_path):
    """A container that joins or leaves one; a network itself is no container."""
    actor = {"ID": TWO, "Attributes": {"container": ONE, "name": "x", "type": "bridge"}}
    lines = [
        json.dumps({"Type": "network", "Action": action, "Actor": actor}).encode() + b"\n"
        for action in ("connect", "disconnect", "destroy")
    ]
    found = follow(tmp_path, {"/events": [*lines, event("start", TWO)]}, RecordingHandler())
    assert found[:3] == [("joined", ONE), ("left", ONE), ("started", TWO)]


def test_unexpected_answers_end_nothing(tmp_path):
    """The engine is asked again if its answer has another form."""
    odd = [
        b'{"Action":"die","Actor":["x"]}\n',
        b'{"Action":{"a":1}}\n',
        b'{"Type":"network","Action":"connect","Actor":{"Attributes":["x"]}}\n',
        b'{"Type":"network","Action":"disconnect"}\n',
    ]
    states = {"message": "no list"}
    follow(tmp_path, {"/containers/json": states, "/events": odd}, RecordingHandler(ONE))


def test_the_engine_s_list_is_compared_after_a_gap(tmp_path):
    """Missing containers are removed; running ones are reported as stopped and started again."""
    handler = RecordingHandler(ONE, TWO, "3", "4")
    states = [
        {"Id": TWO, "State": "exited"},
        {"Id": "3", "State": "running"},
        {"Id": "4", "State": "created"},
        "nonsense",
    ]
    found = follow(tmp_path, {"/containers/json": states, "/events": []}, handler)
    assert set(found) == {("removed", ONE), ("stopped", TWO), ("stopped", "3"), ("started", "3")}
    assert found.index(("stopped", "3")) < found.index(("started", "3"))


def test_an_engine_that_starts_later_is_followed(tmp_path):
    """Its events are reported as soon as it answers."""

    async def scenario():
        engine = missing_engine(tmp_path)
        handler = RecordingHandler()
        task = asyncio.create_task(container_listener.follow_containers(engine, handler))
        await asyncio.sleep(0)
        async with fake_engine(tmp_path, {"/events": [event("die", ONE) + b"\n"]}):
            await handler.called.wait()
        task.cancel()
        await asyncio.wait([task])
        assert handler.received[0] == ("stopped", ONE)

    run_bounded(scenario())


def missing_engine(folder):
    """Return an engine that does not answer yet."""
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
def test_addresses_are_read_from_all_networks(mode, addresses, found):
    """None for a container that uses the network of the host, or of another container."""
    networks = {str(number): {"IPAddress": one} for number, one in enumerate(addresses)}
    inspected = {"HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks}}
    assert container_listener.read_addresses(inspected) == (
        None if found is None else frozenset(found)
    )
    assert container_listener.read_addresses([]) == frozenset()
