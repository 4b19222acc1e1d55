"""The scene of one examination of a launcher: GitHub and an account, and the doctor as a process.

In it everything is right; each test makes one thing wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from local import agent, aws, ecs, faults, github, iam, network, quotas
from local.ecs.tasks import TaskDefinition
from local.github.apps import fresh_key
from tests.doctor.scene import SECONDS, Examined
from tests.lives.stage import PATIENCE
from tests.support import forked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

DOCTOR = (sys.executable, "-m", "launcher", "doctor")
WORKER = f"arn:aws:iam::{aws.ACCOUNT}:role/worker"
EXECUTION = TaskDefinition.execution_role
SECRET = "the secret of the webhook"
POOL = {
    "name": '"build"',
    "labels": '["build"]',
    "cluster": '"runners"',
    "task_definition": '"runner:1"',
    "capacities": '["FARGATE_SPOT", "FARGATE"]',
    "maximum": "10",
}
HEALTH = {"command": ["CMD", "runner-sidecar", "health"], "interval": 30, "timeout": 10}


class Scene:
    """A whole launcher and its surroundings."""

    def __init__(self, moto: str, folder: Path) -> None:
        self.moto = moto
        self.folder = folder
        self.stack = AsyncExitStack()
        """Whatever a test starts beside."""
        self.front: faults.Proxy
        """The proxy in front of SSM and STS, which can make calls fail."""
        self.github: github.GitHub
        self.hub: faults.Proxy
        """The proxy in front of GitHub."""
        self.plane: ecs.ControlPlane
        self.iam: iam.Iam
        self.quotas: quotas.Quotas
        self.network: network.Network
        self.key, *numbers = fresh_key()
        self._numbers = numbers
        self.pool = dict(POOL)
        """The keys of the pool, as the document writes them."""
        self.status = 202
        """What the webhook answers."""
        self.credentials: aws.Credentials

    @property
    def definition(self) -> TaskDefinition:
        """The task definition of the pool."""
        return self.plane.definitions[0]

    def change_definition(self, **changes: Any) -> None:
        """Change the task definition."""
        self.plane.definitions = [replace(self.definition, **changes)]

    async def open(self) -> None:
        """Start the stand-ins, and make all that a launcher needs."""
        enter = self.stack.enter_async_context
        self.front = await enter(faults.serving(self.moto))
        self.github = await enter(github.serving())
        self.hub = await enter(faults.serving(self.github.url))
        self.plane = await enter(ecs.serving(_start_nothing))
        self.iam = await enter(iam.serving())
        self.quotas = await enter(quotas.serving())
        trusted = "ecs-tasks.amazonaws.com"
        self.iam.roles = {"runner-task": trusted, "execution": trusted}
        await asyncio.to_thread(self._make_account)
        world = self.github.world
        self.app = world.apps.add("launcher", *self._numbers)
        self.installation = world.apps.install(self.app, "octo")
        world.hooks.post = self._answer
        self.hook = world.hooks.add("http://127.0.0.1:9/webhook", SECRET, app=self.app)
        await self.wait_for_deliveries()

    def _make_account(self) -> None:
        self.network = network.make_network(self.moto)
        image = network.push_image(self.moto)
        self.credentials = aws.assume_role(self.moto, WORKER, "launcher")
        self.plane.definitions = [
            TaskDefinition(image=f"{image}:1", stop_timeout=30, health_check=HEALTH)
        ]

    async def _answer(self, *_: object) -> tuple[int, dict[str, str], str]:
        return self.status, {}, ""

    async def wait_for_deliveries(self) -> None:
        """Wait until the webhook has answered all that was sent to it."""
        world = self.github.world
        answered = lambda: all(each.status_code for each in world.hooks.deliveries) or None  # noqa: E731
        assert await world.changes.until(answered, PATIENCE)

    def environment(self) -> dict[str, str]:
        """Return the variables of a launcher in which all is right."""
        pools = self.folder / "pools.toml"
        given = dict(self.pool)
        given.setdefault("subnets", f'["{self.network.subnet}"]')
        given.setdefault("security_groups", f'["{self.network.security_group}"]')
        given.setdefault("access", '{ repositories = ["octo/repo"] }')
        lines = (f"{key} = {value}\n" for key, value in given.items())
        pools.write_text("[[pool]]\n" + "".join(lines), encoding="utf-8")
        kept = {key: os.environ[key] for key in os.environ if key.startswith("COVERAGE")}
        return {
            **agent.base_environment(),
            **kept,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_SESSION_TOKEN": self.credentials.session_token,
            "AWS_ENDPOINT_URL": self.front.url,
            "AWS_ENDPOINT_URL_ECS": self.plane.url,
            "AWS_ENDPOINT_URL_IAM": self.iam.url,
            "AWS_ENDPOINT_URL_SERVICE_QUOTAS": self.quotas.url,
            "LAUNCHER_GITHUB_URL": self.hub.url,
            "LAUNCHER_GITHUB_APP_ID": str(self.app.id),
            "LAUNCHER_GITHUB_APP_KEY": self.key,
            "LAUNCHER_POOLS": str(pools),
        }

    async def examine(
        self, env: Mapping[str, str | None] | None = None, *options: str, json_: bool = True
    ) -> Examined:
        """Run the doctor; no secret may be in what it prints. None removes a variable."""
        merged = {**self.environment(), **(env or {})}
        words = (*DOCTOR, *(("--json",) if json_ else ()), "--seconds", SECONDS, *options)
        given = {name: value for name, value in merged.items() if value is not None}
        code, output, errors = await forked.play(words, given, 2 * PATIENCE)
        lines = json.loads(output)["lines"] if output.startswith(b"{") else []
        found = Examined(code, lines, output.decode(), errors.decode())
        for secret in self.list_secrets():
            assert secret not in found.output + found.errors, "a secret was shown"
        assert "Traceback" not in found.errors, found.errors
        return found

    def list_secrets(self) -> list[str]:
        """List what no output may hold."""
        held = self.credentials
        keys = (held.access_key_id, held.secret_access_key, held.session_token)
        return [*keys, SECRET, *self.key.splitlines()[1:-1]]


@asynccontextmanager
async def open_scene(moto: str) -> AsyncIterator[Scene]:
    """Open a scene."""
    with agent.make_folder("doctor-") as folder:
        scene = Scene(moto, folder)
        async with scene.stack:
            await scene.open()
            yield scene


def _start_nothing(*_: Any) -> Any:
    raise AssertionError("no task is started")
