"""Containers that have internal networks only are warned about, once per network."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from sidecar.docker import internal_networks
from tests.unit.docker.fakes import fake_engine, run_bounded

if TYPE_CHECKING:
    from pathlib import Path


def connect_event(name: str, container: str | None = "c" * 64, kind: str = "bridge") -> bytes:
    """Return an event as the engine sends it."""
    attributes = {"name": name, "type": kind, **({"container": container} if container else {})}
    event = {"Type": "network", "Action": "connect", "Actor": {"Attributes": attributes}}
    return json.dumps(event).encode() + b"\n"


async def wait_for_third_request(requests: asyncio.Queue[str]) -> None:
    """Wait until the engine's events were asked for three times."""
    for _ in range(3):
        while await requests.get() != "/events":
            pass


def collect_warnings(folder: Path, responses: dict[str, object]) -> list[dict]:
    """Listen until the engine has ended its events twice; return the warnings."""

    async def scenario():
        async with fake_engine(folder, responses) as (engine, requests):
            serve = asyncio.create_task(internal_networks.warn_about_internal_networks(engine))
            rounds = asyncio.create_task(wait_for_third_request(requests))
            await asyncio.wait([serve, rounds], return_when=asyncio.FIRST_COMPLETED)
            for task in (serve, rounds):
                task.cancel()
            await asyncio.wait([serve, rounds])

    with capture_logs() as logs:
        run_bounded(scenario())
    return [event for event in logs if event["event"] == "network.relay_unreachable"]


INNER, OUTER = {"Name": "inner", "Internal": True}, {"Name": "outer", "Internal": False}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(internal_networks, "_FIRST_PAUSE", 0.01)


def fake_responses(*events: bytes, joined: tuple[str, ...], version: str = "1.45"):
    """Return the responses of an engine that has both networks and one container."""
    return {
        "/version": {"ApiVersion": version},
        "/networks": [INNER, OUTER],
        f"/containers/{'c' * 64}/json": {"NetworkSettings": {"Networks": dict.fromkeys(joined)}},
        "/events": list(events),
    }


def test_a_container_with_internal_networks_only_is_warned_about_once(tmp_path):
    """However many events there are, and however often the engine ends them."""
    responses = fake_responses(connect_event("inner"), connect_event("inner"), joined=("inner",))
    (networks,) = collect_warnings(tmp_path, responses)
    assert (networks["network"], networks["container"]) == ("inner", "c" * 12)


@pytest.mark.parametrize(
    ("event", "joined", "version"),
    [
        (connect_event("inner"), ("inner", "outer"), "1.45"),
        (connect_event("outer"), ("outer",), "1.45"),
        (connect_event("inner", None), ("inner",), "1.45"),
        (connect_event("inner", kind="host"), ("inner",), "1.45"),
        (connect_event("inner", "d" * 64), ("inner",), "1.45"),
        (connect_event("inner"), ("inner",), "1.41"),
        (b'["nonsense"]\n', ("inner",), "unknown"),
    ],
)
def test_no_other_container_is_warned_about(tmp_path, event, joined, version):
    """Containers with another network reach the relay; so do all containers of an older engine."""
    assert collect_warnings(tmp_path, fake_responses(event, joined=joined, version=version)) == []
