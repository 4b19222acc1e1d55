"""A docker engine that answers what the doctor asks, at a socket; its containers are processes."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from local.agent import base_environment
from tests.lives.stage import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FAR = {"Subnet": "172.31.77.0/24", "Gateway": "172.31.77.1"}
"""A network of no machine of the tests'."""
HERE = {"Subnet": "127.0.0.0/8", "Gateway": "127.0.0.1"}
IMAGE = "runner:1"
"""The only image: that of the agent."""


@dataclass
class Engine:
    """The running engine."""

    network: dict[str, str]
    host: str = ""
    """The DOCKER_HOST that leads to it."""
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was created and is not removed yet, by id."""
    created: list[dict[str, Any]] = field(default_factory=list)
    """What was created, oldest first."""
    _outputs: dict[str, bytes] = field(default_factory=dict)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        match [request.method, *request.path.strip("/").split("/")]:
            case ["GET", "version"]:
                return web.json_response({"Version": "28.5.1", "ApiVersion": "1.51"})
            case ["GET", "networks"]:
                config = {"Name": "bridge", "Driver": "bridge", "IPAM": {"Config": [self.network]}}
                return web.json_response([config])
            case ["POST", "containers", "create"]:
                return self._create(await request.json())
            case ["POST", "containers", name, "start"]:
                self._outputs[name] = await _run(self.containers[name])
                return web.Response(status=204)
            case ["POST", "containers", _, "wait"]:
                return web.json_response({"StatusCode": 0})
            case ["GET", "containers", name, "logs"]:
                output = self._outputs[name]
                head = b"\x01\0\0\0" + len(output).to_bytes(4, "big")
                return web.Response(body=head + output)
            case ["DELETE", "containers", name]:
                del self.containers[name]
                return web.Response(status=204)
        return web.json_response({"message": "page not found"}, status=404)

    def _create(self, wanted: dict[str, Any]) -> web.Response:
        if wanted["Image"] != IMAGE:
            return web.json_response({"message": "No such image"}, status=404)
        self.created.append(wanted)
        name = secrets.token_hex(32)
        self.containers[name] = wanted
        return web.json_response({"Id": name, "Warnings": []}, status=201)


async def _run(wanted: dict[str, Any]) -> bytes:
    """Run a container's command to its end, with its variables; return its standard output."""
    program, *arguments = [*wanted["Entrypoint"], *wanted["Cmd"]]
    assert program == "runner-sidecar"
    env = base_environment() | dict(pair.split("=", 1) for pair in wanted["Env"])
    del env["AWS_EC2_METADATA_DISABLED"]
    argv = (sys.executable, "-m", "sidecar", *arguments)
    process = await asyncio.create_subprocess_exec(
        *argv, env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output


@asynccontextmanager
async def serving(
    socket: Path, network: dict[str, str], mode: int = 0o660
) -> AsyncIterator[Engine]:
    """Serve an engine with one network."""
    engine = Engine(network, f"unix://{socket}")
    runner = web.ServerRunner(web.Server(engine.answer, access_log=None), shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(socket)).start()
        os.chmod(socket, mode)  # noqa: PTH101  at once: it is a socket of the test's own
        yield engine
    finally:
        await runner.cleanup()
