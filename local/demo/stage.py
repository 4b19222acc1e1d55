"""Everything the agent meets: AWS, the ECS agent, GitHub, the runner's program, a folder."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import shutil
import stat
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from local import aws, ecs_agent, github, runner
from local.github.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from local.demo.endings import Ending

PARAMETER = "/demo/registration-token"
REPOSITORY = "octo/demo"
PAT = "ghp_demo"
"""What the demo itself asks GitHub with, from outside."""


@dataclass(frozen=True)
class Stage:
    """What stands; `user` is who the runner's processes run as."""

    aws: str
    ecs: ecs_agent.Agent
    github: github.GitHub
    folder: Path
    runner: Path
    user: str

    def mint(self) -> str:
        """Let GitHub give out a registration token."""
        scope = Scope.of_path(f"/repos/{REPOSITORY}")
        return self.github.world.mint("registration", scope).value


@asynccontextmanager
async def staged(ending: Ending) -> AsyncIterator[Stage]:
    """Start all stand-ins; after the block nothing of them is left, on disk neither."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_folder())
        endpoint = stack.enter_context(aws.serving())
        laid_out = asyncio.to_thread(_lay_out, folder / "runner", ending)
        hub, ecs, root = await asyncio.gather(
            stack.enter_async_context(github.serving(pats=[PAT])),
            stack.enter_async_context(ecs_agent.serving(aws_endpoint=endpoint)),
            laid_out,
        )
        yield Stage(endpoint, ecs, hub, folder, root, runner_user())


def runner_user() -> str:
    """Say who the runner's processes run as: nobody beside root, else the demo's own user."""
    if sys.platform == "win32":
        raise NotImplementedError("__main__ refuses it before")
    if os.geteuid() == 0:
        return "nobody"
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container that was started as any number
        return str(os.geteuid())


def _lay_out(path: Path, ending: Ending) -> Path:
    path.mkdir()
    root = runner.install(path)
    if ending.misbehaves:
        (root / ".misbehave.json").write_text(json.dumps(ending.misbehaves), encoding="utf-8")
    return root


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="runner-demo-", dir=_reachable()))
    try:
        path.chmod(0o755)  # the runner's user must get to its folder in there
        yield path
    finally:
        _remove(path)


def _reachable() -> str:
    """Choose a folder for temporary files that another user can get to as well."""
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108
        path = Path(place).resolve()
        if path.is_dir() and all(
            each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents)
        ):
            return str(path)
    return tempfile.gettempdir()


def _remove(path: Path) -> None:
    """Remove the demo's folder; a thread that was cut short may still be writing into it."""
    for _ in range(100):
        with suppress(OSError):
            shutil.rmtree(path)
        if not path.exists():
            return
        time.sleep(0.05)
    shutil.rmtree(path)
