"""The health server, over real sockets."""

import asyncio
import json
import random
import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import NamedTuple

import aiohttp
import pytest
from structlog.testing import capture_logs

from sidecar import phase
from sidecar.cli.health import check_health
from sidecar.errors import SettingsError
from sidecar.settings import HEALTH_FILE
from sidecar.status import health_server
from sidecar.values import Address
from tests.support.loops import on_both, run


@pytest.fixture
def free():
    """Give an address that was free a moment ago.

    Its port is none of those that the system gives to others meanwhile, for their connections.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return Address("127.0.0.1", port)
    raise AssertionError("no port is free")


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
def test_an_address_that_is_not_this_machine_s_is_a_wrong_setting(loop):
    """The line names the setting, the reason and an example."""

    async def life():
        async with health_server.serve_health(Address("192.0.2.1", 9190)):
            pass

    with pytest.raises(SettingsError, match=r"^SIDECAR_HEALTH_ADDRESS 192\.0\.2\.1:\d+ cannot be"):
        run(loop, life())


@on_both
def test_two_agents_on_one_network_are_both_healthy(loop, tmp_path):
    """As two tasks with network mode host on one instance are: each check asks its own agent."""

    async def life():
        with socket.create_server(("127.0.0.1", 0)) as held:
            address = Address("127.0.0.1", held.getsockname()[1])
            check = {
                "SIDECAR_HEALTH_ADDRESS": str(address),
                "SIDECAR_RUNNER_DIR": str(tmp_path),
            }
            with capture_logs() as events:
                async with health_server.serve_health(address, folder=tmp_path):
                    assert await asyncio.to_thread(check_health, check) == 0
                    (moved, started) = events
                    # Without the file the other program would be asked, which is no agent.
                    assert (tmp_path / HEALTH_FILE).read_text().strip() == moved["address"]
                    assert moved["address"] == f"127.0.0.1:{started['port']}" != moved["wanted"]
        assert not (tmp_path / HEALTH_FILE).exists()

    run(loop, life())


@on_both
def test_an_agent_at_its_own_address_forgets_an_earlier_one(loop, free, tmp_path):
    """A killed life's file would lead the check to a port that nobody has, or another has."""
    (tmp_path / HEALTH_FILE).write_text("127.0.0.1:1\n")

    async def life():
        async with health_server.serve_health(free, folder=tmp_path):
            assert not (tmp_path / HEALTH_FILE).exists()

    run(loop, life())


@on_both
def test_where_the_file_cannot_be_written_the_life_goes_on(loop, tmp_path):
    """The event says that the check will not know."""

    async def life():
        with socket.create_server(("127.0.0.1", 0)) as held, capture_logs() as events:
            address = Address("127.0.0.1", held.getsockname()[1])
            async with health_server.serve_health(address, folder=tmp_path / "missing"):
                pass
        assert "the health check will not know" in events[0]["reason"]

    run(loop, life())


@on_both
def test_an_error_of_the_life_itself_passes_through(loop, free):
    """A full disk is not reported as a wrong health address."""

    async def life():
        async with health_server.serve_health(free):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(loop, life())
