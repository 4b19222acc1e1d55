"""Run a life in a container: the image's first program, in the network namespace of its stage."""

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

OF_THIS_MACHINE = re.compile(
    "PATH|PYTHONPATH|LANG|COVERAGE.*|AWS_CONFIG_FILE|AWS_SHARED_CREDENTIALS_FILE"
    "|SIDECAR_RUNNER_DIR|SIDECAR_RUNNER_USER"
).fullmatch
"""The variables of a stage that are about this machine, and that no image needs."""


class Container:
    """A container that runs one life."""

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
        """Stop it while the block runs."""
        stop = asyncio.create_task(self.stop(seconds))
        yield
        await stop

    async def inspect(self, template: str) -> str:
        """Return what the engine knows about it, as a template says."""
        return (await self.docker("inspect", f"--format={template}", self.name)).strip()


@asynccontextmanager
async def run_container(
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
    given = {key: value for key, value in stage.environment().items() if not OF_THIS_MACHINE(key)}
    given.update(env or {})
    variables = [f"--env={key}={value}" for key, value in given.items() if value is not None]
    shared = f"--volume={there(stage.folder)}:{stage.folder}"  # for a job's gate
    run = ("run", "--name", name, "--network=host", shared, *variables)
    argv = (*options, image, *command)
    try:
        if detached:
            await asyncio.to_thread(engine.docker, *run, "--detach", *argv)
            yield Container(name, engine, None)
            return
        async with stage.life(client(engine, *run, *argv), env=CLIENT_ENV) as life:
            yield Container(name, engine, life)
    finally:
        await asyncio.to_thread(engine.docker, "rm", "--force", "--volumes", name)


@asynccontextmanager
async def restart(stage: Stage, container: Container) -> AsyncIterator[Life]:
    """Start a container that has ended again, with its own disk."""
    argv = client(container.engine, "start", "--attach", container.name)
    async with stage.life(argv, env=CLIENT_ENV) as life:
        yield life


CLIENT_ENV = {"PATH": PATH, "HOME": "/root"}
"""What the docker client needs of an environment."""


def client(engine: Engine, *argv: str) -> tuple[str, ...]:
    """Return the command that runs `docker ARGV` where the engine runs."""
    there = ("nsenter", f"--target={engine.pid}", "--mount", "--root", "--wd")
    return (*there, "docker", *argv)
