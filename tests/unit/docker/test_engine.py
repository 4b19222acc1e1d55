"""The daemon's API as the agent asks it: on a socket, with a deadline, and what is wrong told."""

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
from sidecar.docker.engine import Bridge, Engine, EngineError, bridges


@asynccontextmanager
async def daemon(folder: Path, answers: dict[str, object]):
    """Answer these paths on a socket; an answer that is a list of bytes is a stream of lines."""
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def answered(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1].partition("?")[0]
        asked.put_nowait(path)
        told = answers.get(path)
        if told is None:
            writer.write(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
        elif isinstance(told, list) and path == "/events":
            writer.write(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + b"".join(told))
        else:
            body = told if isinstance(told, bytes) else json.dumps(told).encode()
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    path = folder / "docker.sock"
    server = await asyncio.start_unix_server(answered, path)
    try:
        yield Engine(f"unix://{path}"), asked
    finally:
        server.close()


def played(work):
    """Run to the end, in bounded time."""
    return asyncio.run(asyncio.wait_for(work, 30))


def test_a_daemon_is_named_by_the_variable_or_by_its_socket(tmp_path):
    """As every docker client does; no socket and no variable is no daemon."""
    assert Engine.find(None, str(tmp_path / "none")) is None
    assert Engine.find(None, str(tmp_path)).socket == tmp_path
    assert Engine.find("unix:///run/d.sock").socket == Path("/run/d.sock")
    by_network = Engine.find("tcp://docker:2376")
    assert (by_network.socket, by_network.machine) == (None, "docker")
    assert Engine("unix:///run/d.sock").machine is None


def test_networks_are_told_with_their_bridges(tmp_path):
    """Those of other drivers have none; 20.10 may tell no gateway."""
    told = [
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

    async def play():
        async with daemon(tmp_path, {"/networks": told}) as (engine, _):
            return bridges(await engine.networks())

    assert played(play()) == [
        Bridge("docker0", "172.17.0.0/16", None),
        Bridge("br-0123456789ab", "172.18.0.0/16", "172.18.0.1"),
    ]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({}, "answered 404 to /networks"),
        ({"/networks": b"<html>"}, "cannot be asked"),
        ({"/networks": {"message": "no"}}, "told no networks"),
    ],
)
def test_a_strange_answer_is_none(tmp_path, answers, why):
    """Whoever is behind that socket, the agent goes on without."""

    async def play():
        async with daemon(tmp_path, answers) as (engine, _):
            await engine.networks()

    with pytest.raises(EngineError, match=why):
        played(play())


def test_nobody_there_is_told(tmp_path):
    """No socket, nobody behind it, or no socket at all."""
    for host in (f"unix://{tmp_path}/none", f"unix://{tmp_path}", "tcp://127.0.0.1:1"):
        with pytest.raises(EngineError):
            played(Engine(host).networks())


def test_silence_has_a_deadline(tmp_path, monkeypatch):
    """A daemon that hangs holds nobody up."""
    monkeypatch.setattr(engines, "DEADLINE", 0.05)

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(EngineError, match=r"did not answer within 0\.05 s"):
            played(Engine(f"unix://{tmp_path}/s").networks())


def connected(name: str, container: str | None = "c" * 64, kind: str = "bridge") -> bytes:
    """Return an event as the daemon tells it."""
    attributes = {"name": name, "type": kind, **({"container": container} if container else {})}
    event = {"Type": "network", "Action": "connect", "Actor": {"Attributes": attributes}}
    return json.dumps(event).encode() + b"\n"


async def several(asked: asyncio.Queue[str]) -> None:
    """Wait until the daemon was asked for its events for the third time."""
    for _ in range(3):
        while await asked.get() != "/events":
            pass


def reported(folder: Path, answers: dict[str, object]) -> list[dict]:
    """Listen until the daemon has ended its events twice; give what was logged."""

    async def play():
        async with daemon(folder, answers) as (engine, asked):
            serve = asyncio.create_task(internal_networks.reported(engine))
            rounds = asyncio.create_task(several(asked))
            await asyncio.wait([serve, rounds], return_when=asyncio.FIRST_COMPLETED)
            for task in (serve, rounds):
                task.cancel()
            await asyncio.wait([serve, rounds])

    with capture_logs() as logs:
        played(play())
    return [event for event in logs if event["event"] == "network.relay_unreachable"]


INNER, OUTER = {"Name": "inner", "Internal": True}, {"Name": "outer", "Internal": False}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(internal_networks, "_AGAIN", 0.01)


def surroundings(*events: bytes, joined: tuple[str, ...], version: str = "1.45"):
    """Return what a daemon answers that has both networks and one container."""
    return {
        "/version": {"ApiVersion": version},
        "/networks": [INNER, OUTER],
        f"/containers/{'c' * 64}/json": {"NetworkSettings": {"Networks": dict.fromkeys(joined)}},
        "/events": list(events),
    }


def test_who_is_in_an_internal_network_alone_is_told_of_once(tmp_path):
    """However often it happens, and however often the daemon ends its events."""
    answers = surroundings(connected("inner"), connected("inner"), joined=("inner",))
    (told,) = reported(tmp_path, answers)
    assert (told["network"], told["container"]) == ("inner", "c" * 12)


@pytest.mark.parametrize(
    ("event", "joined", "version"),
    [
        (connected("inner"), ("inner", "outer"), "1.45"),
        (connected("outer"), ("outer",), "1.45"),
        (connected("inner", None), ("inner",), "1.45"),
        (connected("inner", kind="host"), ("inner",), "1.45"),
        (connected("inner", "d" * 64), ("inner",), "1.45"),
        (connected("inner"), ("inner",), "1.41"),
        (b'["nonsense"]\n', ("inner",), "unknown"),
    ],
)
def test_of_nobody_else(tmp_path, event, joined, version):
    """Who is in another network too has a way; an older daemon gives one anyhow."""
    assert reported(tmp_path, surroundings(event, joined=joined, version=version)) == []
