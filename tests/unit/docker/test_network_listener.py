"""The network listener reports networks, and looks again after a gap."""

from __future__ import annotations

import asyncio
import json

import pytest

from sidecar.docker import network_listener
from sidecar.docker.engine import Engine
from tests.unit.docker.fakes import fake_engine, run_bounded


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(network_listener, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(network_listener, "_LONGEST_PAUSE", 0.01)


def event(action: str) -> bytes:
    """Return an event as the engine sends it."""
    return json.dumps({"Type": "network", "Action": action, "Actor": {"ID": "n"}}).encode() + b"\n"


def test_each_network_is_reported_and_each_gap(tmp_path):
    """Once at first, once for each event, and again after the engine has ended its events."""
    calls = asyncio.Queue()

    async def scenario():
        answers = {"/events": [event("create"), event("connect")]}
        engine = Engine(f"unix://{tmp_path / 'docker.sock'}")
        follow = network_listener.follow_networks(engine, lambda: calls.put_nowait(None))
        task = asyncio.create_task(follow)
        await calls.get()  # the engine is not there yet
        await calls.get()
        async with fake_engine(tmp_path, answers) as (_, requests):
            while await requests.get() != "/events":
                pass
            while not calls.empty():
                calls.get_nowait()
            for _ in range(2 + 1):  # two events, and the next round
                await calls.get()
        task.cancel()
        await asyncio.wait([task])

    run_bounded(scenario())
