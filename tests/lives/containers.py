"""A docker engine whose containers are processes with addresses of their own, beside a life.

The containers share one network namespace, behind a bridge's address of the task. Each runs PROBE,
which asks for credentials by every way there is, and prints what it got.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NETWORK, GATEWAY = "172.30.0.0/24", "172.30.0.1"
MOST = 8
"""Containers that there may be."""
PROBE = """
import http.client, json, os, sys, time

own, role_path = os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"], sys.argv[2]

def ask(host, path, method="GET", **headers):
    connection = http.client.HTTPConnection(host, 80, 10, source_address=(sys.argv[1], 0))
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()

def name(status, text):
    role = json.loads(text)["RoleArn"] if text.startswith("{") and status == 200 else text
    return role if status == 200 else status

def by_address():
    ttl = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
    status, token = ask("169.254.169.254", "/latest/api/token", "PUT", **ttl)
    given = {"x-aws-ec2-metadata-token": token}
    return ask("169.254.169.254", role_path, **given) if status == 200 else (status, token)

def decided(ways):
    # The relay holds a request while it fetches, or asks for the address.
    end = time.monotonic() + 30
    while True:
        status, text = ways()
        if status != 503 or time.monotonic() > end:
            return name(status, text)

found = {"own": decided(lambda: ask("169.254.170.2", own)), "address": decided(by_address)}
for title, path in (("job's", os.environ.get("JOB_PATH")), ("task's", os.environ["TASK_PATH"])):
    if path:
        found[title] = decided(lambda: ask("169.254.170.2", path))
print(json.dumps(found))
"""


@dataclass
class Engine:
    """The running engine."""

    space: int
    """A process in the containers' network namespace."""
    more: dict[str, str] = field(default_factory=dict)
    """Variables of every container, that stand for what it has found out."""
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was created, by id."""
    _events: list[asyncio.Queue[dict[str, Any]]] = field(default_factory=list)

    def _find(self, name: str) -> dict[str, Any]:
        return next(one for key, one in self.containers.items() if name in (key, one["Name"]))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.path.strip("/").split("/")
        if path[0].startswith("v1."):
            path = path[1:]
        match path:
            case ["containers", *words]:
                return await self._answer_about_containers(request, words)
            case ["events"]:
                return await self._follow(request)
            case ["networks"]:
                config = [{"Subnet": NETWORK, "Gateway": GATEWAY}]
                bridge = {"Name": "bridge", "Driver": "bridge", "IPAM": {"Config": config}}
                return web.json_response([bridge])
            case ["version"]:
                return web.json_response({"Version": "28.5.1", "ApiVersion": "1.51"})
        return web.json_response({"message": "page not found"}, status=404)

    async def _answer_about_containers(
        self, request: web.BaseRequest, words: list[str]
    ) -> web.StreamResponse:
        match [request.method, *words]:
            case ["POST", "create"]:
                return self._create(await request.json(), request.query.get("name", ""))
            case ["POST", name, "start"]:
                await self._start(self._find(name))
                return web.Response(status=204)
            case ["GET", "json"]:
                found = [{"Id": key, "State": "running"} for key in self.containers]
                return web.json_response(found)
            case ["GET", name, "json"]:
                return web.json_response(_describe(self._find(name)))
            case ["GET", name, "logs"]:
                return web.Response(body=self._find(name)["Output"])
            case ["DELETE", name]:
                del self.containers[self._find(name)["Id"]]
                return web.Response(status=204)
        # The real one's update reads no label, and what it does not know is no error.
        return web.json_response({"Warnings": None})

    def _create(self, wanted: dict[str, Any], name: str) -> web.Response:
        if wanted.get("Image") != "app":  # as for what the agent asks by, to see folders
            return web.json_response({"message": "No such image"}, status=404)
        made = secrets.token_hex(32)
        address = f"172.30.0.{len(self.containers) + 2}"
        self.containers[made] = {**wanted, "Id": made, "Name": name, "Address": address}
        return web.json_response({"Id": made, "Warnings": []}, status=201)

    async def _start(self, one: dict[str, Any]) -> None:
        """Run a container to its end; its output is kept."""
        one["Started"] = True
        event = {"Type": "container", "Action": "start", "Actor": {"ID": one["Id"]}}
        for queue in self._events:
            queue.put_nowait(event)
        env = {"PATH": "/usr/bin:/bin", **self.more}
        env |= dict(pair.split("=", 1) for pair in one["Env"])
        role_path = "/latest/meta-data/iam/security-credentials/"
        argv = ("nsenter", f"--net=/proc/{self.space}/ns/net", sys.executable, "-c", PROBE)
        process = await asyncio.create_subprocess_exec(
            *argv, one["Address"], role_path, env=env, stdout=subprocess.PIPE
        )
        try:
            one["Output"], _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _follow(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events.append(queue)
        while True:
            await response.write(json.dumps(await queue.get()).encode() + b"\n")


def _describe(one: dict[str, Any]) -> dict[str, Any]:
    """Describe a container; it has an address once it was started."""
    address = one["Address"] if one.get("Started") else ""
    return {
        "Id": one["Id"],
        "Created": "2026-11-26T21:00:00Z",
        "Config": {"Labels": one.get("Labels")},
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": {"default": {"IPAddress": address}}},
    }


@asynccontextmanager
async def serving(socket: Path) -> AsyncIterator[Engine]:
    """Serve an engine at a socket, in a network namespace of the test's own."""
    argv = ("unshare", "--net", "sh", "-c", "echo ready; exec cat")
    space = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert space.stdout is not None
        await space.stdout.readline()
        await asyncio.to_thread(_connect, space.pid)
        engine = Engine(space.pid)
        server = web.Server(engine.answer, access_log=None, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.01)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(socket)).start()
            os.chmod(socket, 0o600)  # noqa: PTH101  at once: it is a socket of the test's own
            yield engine
        finally:
            await runner.cleanup()
    finally:
        space.kill()
        await space.wait()


def _connect(space: int) -> None:
    """Give the task the gateway's address, and the containers' namespace all of theirs."""

    def run(*argv: str) -> None:
        subprocess.run(argv, check=True, timeout=30)

    link = f"link add br0 type veth peer name eth0 netns {space}"
    for command in (link, f"addr add {GATEWAY}/24 dev br0", "link set br0 up"):
        run("ip", *command.split())
    addresses = [f"addr add 172.30.0.{number}/24 dev eth0" for number in range(2, 2 + MOST)]
    route = f"route add default via {GATEWAY}"
    for command in (*addresses, "link set eth0 up", "link set lo up", route):
        run("nsenter", f"--net=/proc/{space}/ns/net", "ip", *command.split())
