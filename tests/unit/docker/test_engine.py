"""The engine's API is asked on a socket, with a deadline, and errors say what is wrong."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sidecar.docker import engine as engines
from sidecar.docker.engine import Engine, EngineError
from tests.unit.docker.fakes import fake_engine, run_bounded


def test_the_engine_is_found_by_variable_or_socket(tmp_path):
    """As for every docker client; without variable and socket there is no engine."""
    assert Engine.find(None, str(tmp_path / "none")) is None
    assert Engine.find(None, str(tmp_path)).socket == tmp_path
    assert Engine.find("unix:///run/d.sock").socket == Path("/run/d.sock")
    by_network = Engine.find("tcp://docker:2376")
    assert (by_network.socket, by_network.hostname) == (None, "docker")
    assert Engine("unix:///run/d.sock").hostname is None
    by_pipe = Engine.find("npipe:////./pipe/docker_engine")
    assert (by_pipe.socket, by_pipe.hostname) == (None, None)
    assert by_pipe.pipe == r"\\.\pipe\docker_engine"


def test_where_there_are_no_pipes_one_is_an_error():
    """DOCKER_HOST of Windows in a Linux task: the text names it."""

    async def scenario():
        await Engine("npipe:////./pipe/nobody").networks()

    with pytest.raises(EngineError, match=r"npipe:////\./pipe/nobody cannot be asked"):
        run_bounded(scenario())


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


@pytest.mark.parametrize(
    ("version", "late"),
    [
        ({"Components": [{"Name": "Podman Engine"}, {"Name": "Conmon"}]}, True),
        ({"Components": [{"Name": "Engine"}, {"Name": "containerd"}]}, False),
        ({"Components": None}, False),
        ([], False),
    ],
)
def test_podman_makes_its_bridges_late(tmp_path, version, late):
    """It is known by the parts that it names."""

    async def scenario():
        async with fake_engine(tmp_path, {"/version": version}) as (engine, _):
            return await engine.makes_bridges_late()

    assert run_bounded(scenario()) is late


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
