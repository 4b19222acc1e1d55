"""The engine's API is asked by its named pipe, which docker has on Windows."""

from __future__ import annotations

import asyncio
import os

import pytest
from aiohttp import web

from sidecar.docker.engine import Engine, EngineError
from sidecar.relay.daemon_location import DaemonLocation, locate_daemon

NAME = f"engine-{os.getpid()}"
PATIENCE = 60.0


def play(scenario):
    """Run a scenario with an engine at the pipe, on the loop that the agent has."""

    async def networks(_):
        return web.json_response([{"Name": "nat", "Driver": "nat"}])

    async def serve():
        app = web.Application()
        app.router.add_get("/networks", networks)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.NamedPipeSite(runner, rf"\\.\pipe\{NAME}").start()
            async with asyncio.timeout(PATIENCE):
                return await scenario(Engine(f"npipe:////./pipe/{NAME}"))
        finally:
            await runner.cleanup()

    with asyncio.Runner(loop_factory=asyncio.ProactorEventLoop) as runner:
        return runner.run(serve())


def test_an_engine_answers_at_its_pipe():
    """With a session of each call's own, and with a shared one."""

    async def scenario(engine):
        async with engine.open_session() as shared:
            return await engine.networks(), await shared.networks()

    assert play(scenario) == ([{"Name": "nat", "Driver": "nat"}],) * 2


def test_the_instance_s_engine_is_elsewhere():
    """Its pipe is mounted into the task, and none of its networks is the task's."""

    async def scenario(engine):
        return await locate_daemon(engine)

    assert play(scenario)[0] is DaemonLocation.ELSEWHERE


def test_a_pipe_without_an_engine_is_an_error():
    """The text names it, as it does a socket."""

    async def scenario(_):
        with pytest.raises(EngineError, match=r"npipe:////\./pipe/nobody cannot be asked"):
            await Engine("npipe:////./pipe/nobody").networks()

    play(scenario)
