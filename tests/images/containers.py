"""Lives in a container: the image's own first program, on a stage in the same network namespace."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tests.engines.engine import PATH
from tests.images.building import RUNNER, there

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.engines.engine import Engine
    from tests.lives.stage import Life, Stage

MACHINE_S = re.compile(
    "PATH|PYTHONPATH|LANG|COVERAGE.*|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE"
    "|SIDECAR_RUNNER_DIR|SIDECAR_RUNNER_USER"
).fullmatch
"""Variables of a stage that are about this machine, and that an image needs not be told."""


class Container:
    """A container that lives one life."""

    def __init__(self, name: str, engine: Engine, life: Life | None) -> None:
        self.name = name
        self.engine = engine
        self.life = life

    async def docker(self, *argv: str) -> str:
        """Run `docker ARGV` beside the test."""
        return await asyncio.to_thread(self.engine.docker, *argv)

    async def stop(self, seconds: int = 30) -> None:
        """Stop it as `docker stop` and ECS do: the image's stop signal, and SIGKILL later."""
        await self.docker("stop", f"--time={seconds}", self.name)

    @asynccontextmanager
    async def stopping(self, seconds: int) -> AsyncIterator[None]:
        """Ask it to stop, and go on within the block meanwhile."""
        asked = asyncio.create_task(self.stop(seconds))
        yield
        await asked

    async def inspected(self, template: str) -> str:
        """Return what the engine knows of it."""
        return (await self.docker("inspect", f"--format={template}", self.name)).strip()


@asynccontextmanager
async def contained(
    stage: Stage,
    engine: Engine,
    *options: str,
    command: tuple[str, ...] = (),
    env: Mapping[str, str | None] | None = None,
    image: str = RUNNER,
    detached: bool = False,
) -> AsyncIterator[Container]:
    """Run the image in the task's network; `options` are docker's own.

    Detached, the block begins when the container has started, and its log is not read.
    """
    name = f"life-{stage.mark}"
    told = {key: value for key, value in stage.environment().items() if not MACHINE_S(key)}
    told.update(env or {})
    variables = [f"--env={key}={value}" for key, value in told.items() if value is not None]
    shared = f"--volume={there(stage.folder)}:{stage.folder}"  # for a job's gate
    run = ("run", "--name", name, "--network=host", shared, *variables)
    argv = (*options, image, *command)
    try:
        if detached:
            await asyncio.to_thread(engine.docker, *run, "--detach", *argv)
            yield Container(name, engine, None)
            return
        async with stage.life(client(engine, *run, *argv), env=CLIENT_S) as life:
            yield Container(name, engine, life)
    finally:
        await asyncio.to_thread(engine.docker, "rm", "--force", "--volumes", name)


@asynccontextmanager
async def restarted(stage: Stage, container: Container) -> AsyncIterator[Life]:
    """Start a container that has ended once more, on its own disk."""
    argv = client(container.engine, "start", "--attach", container.name)
    async with stage.life(argv, env=CLIENT_S) as life:
        yield life


CLIENT_S = {"PATH": PATH, "HOME": "/root"}
"""What the docker client needs of an environment."""


def client(engine: Engine, *argv: str) -> tuple[str, ...]:
    """Return the command that runs `docker ARGV` where the engine runs."""
    there = ("nsenter", f"--target={engine.pid}", "--mount", "--root", "--wd")
    return (*there, "docker", *argv)
