"""The engine's API is asked on a socket, with a deadline, and errors say what is wrong."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.docker import engine as engines
from sidecar.docker import internal_networks
from sidecar.docker.engine import Bridge, Engine, EngineError, read_bridges


@asynccontextmanager
async def fake_engine(folder: Path, responses: dict[str, object]):
    """Answer these paths on a socket; the answer to /events is a list of lines."""
    requests: asyncio.Queue[str] = asyncio.Queue()

    async def on_client(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1].partition("?")[0]
        requests.put_nowait(path)
        networks = responses.get(path)
        if networks is None:
            writer.write(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
        elif isinstance(networks, list) and path == "/events":
            writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + b"".join(networks))
        else:
            body = networks if isinstance(networks, bytes) else json.dumps(networks).encode()
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    path = folder / "docker.sock"
    server = await asyncio.start_unix_server(on_client, path)
    try:
        yield Engine(f"unix://{path}"), requests
    finally:
        server.close()


def run_bounded(work):
    """Run a coroutine to its end, for at most 30 s."""
    return asyncio.run(asyncio.wait_for(work, 30))


def test_the_engine_is_found_by_variable_or_socket(tmp_path):
    """As for every docker client; without variable and socket there is no engine."""
    assert Engine.find(None, str(tmp_path / "none")) is None
    assert Engine.find(None, str(tmp_path)).socket == tmp_path
    assert Engine.find("unix:///run/d.sock").socket == Path("/run/d.sock")
    by_network = Engine.find("tcp://docker:2376")
    assert (by_network.socket, by_network.hostname) == (None, "docker")
    assert Engine("unix:///run/d.sock").hostname is None


def test_bridges_are_read_from_networks(tmp_path):
    """Networks of other drivers have no bridge; 20.10 may name no gateway."""
    networks = [
        {
            "Driver": "bridge",
            "Options": {"com.docker.network.bridge.name": "docker0"},
            "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]},
        },
        {
            "Driver": "bridge",
            "Id": "0123456789abcdef",
            "IPAM": {"Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]},
        },
        {"Driver": "host", "IPAM": {"Config": None}},
        "nonsense",
    ]

    async def scenario():
        async with fake_engine(tmp_path, {"/networks": networks}) as (engine, _):
            return read_bridges(await engine.networks())

    assert run_bounded(scenario()) == [
        Bridge("docker0", "172.17.0.0/16", None),
        Bridge("br-0123456789ab", "172.18.0.0/16", "172.18.0.1"),
    ]


@pytest.mark.parametrize(
    ("responses", "why"),
    [
        ({}, "answered 404 to /networks"),
        ({"/networks": b"<html>"}, "cannot be asked"),
        ({"/networks": {"message": "no"}}, "listed no networks"),
    ],
)
def test_an_unexpected_answer_is_an_error(tmp_path, responses, why):
    """Whatever answers at that socket, the agent gets an EngineError."""

    async def scenario():
        async with fake_engine(tmp_path, responses) as (engine, _):
            await engine.networks()

    with pytest.raises(EngineError, match=why):
        run_bounded(scenario())


def test_an_engine_that_is_away_is_an_error(tmp_path):
    """There is no socket, nobody listens at it, or it is no socket at all."""
    for host in (f"unix://{tmp_path}/none", f"unix://{tmp_path}", "tcp://127.0.0.1:1"):
        with pytest.raises(EngineError):
            run_bounded(Engine(host).networks())


def test_a_call_has_a_deadline(tmp_path, monkeypatch):
    """An engine that does not answer delays nobody."""
    monkeypatch.setattr(engines, "DEADLINE", 0.05)

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(EngineError, match=r"did not answer within 0\.05 s"):
            run_bounded(Engine(f"unix://{tmp_path}/s").networks())


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
