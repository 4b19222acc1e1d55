"""A docker engine as far as the agent's proxy needs one; its containers are processes.

A container has an address of its own, as a real one has: one of 127.0.0.0/8, to which its process
binds what it connects. Any user of Linux may do that. Nothing else keeps it apart.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADDRESS = "127.0.0.2"
"""Of its one container."""
IMAGE = "untrusted"
_BRIDGE = {
    "Name": "bridge",
    "Id": "b" * 64,
    "Driver": "bridge",
    "Scope": "local",
    "IPAM": {"Config": [{"Subnet": "127.0.0.0/8", "Gateway": "127.0.0.1"}]},
}
_NO_IMAGE = {"message": "No such image"}


@dataclass
class PlayedEngine:
    """The engine: what there is, and who wants to hear of it."""

    socket: Path
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The create requests that reached it, past the agent's proxy, by container."""
    running: set[str] = field(default_factory=set)
    _listeners: list[asyncio.Queue[dict[str, Any]]] = field(default_factory=list)

    def make_routes(self) -> list[web.RouteDef]:
        """Return what it answers."""
        return [
            web.get("/_ping", self._ping),
            web.get("/networks", self._list_networks),
            web.get("/events", self._events),
            web.get("/containers/json", self._list),
            web.post("/containers/create", self._create),
            web.post("/containers/{id}/start", self._start),
            web.get("/containers/{id}/json", self._inspect),
            web.delete("/containers/{id}", self._remove),
        ]

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": "1.41"})

    async def _list_networks(self, _: web.Request) -> web.Response:
        return web.json_response([_BRIDGE])

    async def _list(self, _: web.Request) -> web.Response:
        states = {one: "running" if one in self.running else "created" for one in self.containers}
        return web.json_response([{"Id": one, "State": state} for one, state in states.items()])

    async def _create(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        if wanted.get("Image") != IMAGE:  # the agent looks whether mounts are seen here
            return web.json_response(_NO_IMAGE, status=404)
        container = secrets.token_hex(32)
        self.containers[container] = wanted
        return web.json_response({"Id": container, "Warnings": []}, status=201)

    async def _start(self, request: web.Request) -> web.Response:
        container = request.match_info["id"]
        if container not in self.containers:
            return web.json_response({"message": "No such container"}, status=404)
        self.running.add(container)
        self._tell("start", container)
        return web.Response(status=204)

    async def _inspect(self, request: web.Request) -> web.Response:
        container = request.match_info["id"]
        if container not in self.containers:
            return web.json_response({"message": "No such container"}, status=404)
        address = ADDRESS if container in self.running else ""
        return web.json_response(
            {
                "Id": container,
                "Created": "2026-01-01T00:00:00Z",
                "Config": self.containers[container],
                "HostConfig": {"NetworkMode": "default"},
                "Mounts": [],
                "NetworkSettings": {"Networks": {"bridge": {"IPAddress": address}}},
            }
        )

    async def _remove(self, request: web.Request) -> web.Response:
        container = request.match_info["id"]
        if self.containers.pop(container, None) is None:
            return web.json_response({"message": "No such container"}, status=404)
        self.running.discard(container)
        for event in ("die", "destroy"):
            self._tell(event, container)
        return web.Response(status=204)

    def _tell(self, action: str, container: str) -> None:
        event = {"Type": "container", "Action": action, "Actor": {"ID": container}}
        for listener in self._listeners:
            listener.put_nowait(event)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._listeners.append(told)
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            with suppress(ConnectionResetError):  # the agent has ended
                while True:
                    await response.write(json.dumps(await told.get()).encode() + b"\n")
        finally:
            self._listeners.remove(told)
        return response


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[PlayedEngine]:
    """Serve an engine at a socket in `folder` within the block."""
    engine = PlayedEngine(folder / "engine.sock")
    app = web.Application()
    app.add_routes(engine.make_routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(engine.socket)).start()
        yield engine
    finally:
        await runner.cleanup()


async def run_container(docker_host: str, labels: dict[str, str]) -> str:
    """Create and start a container at a socket, as docker's clients do; return its id."""
    connector = aiohttp.UnixConnector(docker_host.removeprefix("unix://"))
    async with aiohttp.ClientSession("http://docker", connector=connector) as session:
        wanted = {"Image": IMAGE, "Labels": labels}
        async with session.post("/containers/create", json=wanted) as answer:
            answer.raise_for_status()
            container: str = (await answer.json())["Id"]
        async with session.post(f"/containers/{container}/start") as answer:
            answer.raise_for_status()
    return container
