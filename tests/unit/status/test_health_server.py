"""The health server, over real sockets."""

import asyncio
import json
import socket
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp
import pytest

from sidecar import phase
from sidecar.cli.health import check_health
from sidecar.errors import SettingsError
from sidecar.status import health_server
from sidecar.values import Address
from tests.support.loops import on_both, run


@pytest.fixture
def free():
    """Give an address that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    return Address("127.0.0.1", port)


class State(NamedTuple):
    """The state of a relay, as far as health needs it."""

    warm: bool
    age: float


async def ask(session, address, path, method="GET"):
    """Return status, headers and body of one request."""
    async with session.request(method, f"http://{address}{path}") as answer:
        return answer.status, answer.headers, await answer.read()


@on_both
def test_it_is_healthy_from_start_to_end(loop, free):
    """`/healthz` answers 200 while the agent lives; `/readyz` only while the runner is ready."""

    async def life():
        async with health_server.serve_health(free) as report, aiohttp.ClientSession() as session:
            for name in (phase.WAITING, phase.IDLE, phase.STOPPING):
                report.phase.enter(name)
                status, headers, body = await ask(session, free, "/healthz?from=ecs")
                assert (status, headers["Content-Type"]) == (200, "application/json")
                state = json.loads(body)
                assert state["phase"] == name
                assert 0 <= state["phase_seconds"] <= state["life_seconds"] < 30
                assert state["ready"] is False
                assert "relay" not in state

            assert (await ask(session, free, "/readyz"))[0] == 503
            report.listener = SimpleNamespace(ready=False)
            assert (await ask(session, free, "/readyz"))[0] == 503
            report.listener = SimpleNamespace(ready=True)
            report.relay = SimpleNamespace(state=State(True, 1.5))
            status, _, body = await ask(session, free, "/readyz")
            assert (status, json.loads(body)["relay"]) == (200, {"warm": True, "age": 1.5})

    run(loop, life())


@on_both
def test_it_answers_nothing_else(loop, free):
    """The answer to another path or method names the right ones."""

    async def life():
        async with health_server.serve_health(free), aiohttp.ClientSession() as session:
            status, _, body = await ask(session, free, "/metric")
            assert (status, body) == (404, b"try /healthz, /readyz or /metrics\n")
            status, headers, _ = await ask(session, free, "/healthz", "DELETE")
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
            status, headers, body = await ask(session, free, "/healthz", "HEAD")
            assert (status, body) == (200, b"")
            assert int(headers["Content-Length"]) > 0

    run(loop, life())


@on_both
def test_the_health_command_understands_the_server(loop, free):
    """The container's healthCheck finds the agent healthy, and not after its end."""

    async def life():
        environ = {"SIDECAR_HEALTH_ADDRESS": str(free)}
        async with health_server.serve_health(free):
            assert await asyncio.to_thread(check_health, environ) == 0
        assert await asyncio.to_thread(check_health, environ) == 1

    run(loop, life())


def test_off_listens_nowhere():
    """There is a report nevertheless."""

    async def life():
        async with health_server.serve_health(None) as report:
            report.phase.enter(phase.IDLE)
            assert report.ready is False

    run("asyncio", life())


@on_both
def test_an_address_in_use_is_a_wrong_setting(loop):
    """The line names the setting, the reason and an example."""

    async def life():
        with socket.create_server(("127.0.0.1", 0)) as held:
            address = Address("127.0.0.1", held.getsockname()[1])
            async with health_server.serve_health(address):
                pass

    with pytest.raises(SettingsError, match=r"^SIDECAR_HEALTH_ADDRESS 127\.0\.0\.1:\d+ cannot be"):
        run(loop, life())


@on_both
def test_an_error_of_the_life_itself_passes_through(loop, free):
    """A full disk is not reported as a wrong health address."""

    async def life():
        async with health_server.serve_health(free):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(loop, life())
