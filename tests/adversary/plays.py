"""What happens in a cell: an agent's kill, with its own code, against one attack each."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from sidecar import host, process
from sidecar.process import Command, run_child
from sidecar.runner.state_file import StateFile
from sidecar.runner.user_processes import own_user
from tests.adversary import attacks
from tests.adversary.cell import ATTACKER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

USER = host.User("attacker", ATTACKER, ATTACKER, (ATTACKER,), "/")
PYTHON = shutil.which("python3", path=os.defpath) or "python3"
"""The system's own: the one of these tests may be in a folder that no other user may enter."""
QUIET_LOOKS = 30
"""So often in a row no process must be seen: one that forks is not in every list."""


def attack(program: str, *arguments: str) -> Command:
    """Return the command that a job runs."""
    argv = (PYTHON, "-I", "-c", program, *arguments)
    return Command(argv, {"PATH": os.defpath}, Path("/"), USER)


@asynccontextmanager
async def attacked(program: str, *arguments: str) -> AsyncIterator[process.Process]:
    """Run an attack within the block, from its word `up` on; kill it as the agent kills a job."""
    up = asyncio.Event()
    async with run_child(attack(program, *arguments), lambda _stream, _line: up.set()) as child:
        await up.wait()
        yield child


def list_own() -> list[int]:
    """Return the living processes of the attacker."""
    return list(host.list_user_processes(ATTACKER))


async def wait_until(look: Callable[[], bool], looks: int = 1) -> None:
    """Wait until `look` says yes so often in a row."""
    count = 0
    while count < looks:
        count = count + 1 if look() else 0
        await asyncio.sleep(0.01)


def begin(*, mended: bool) -> None:
    """Do what the agent's first lines do, but for what an unmended one does not."""
    process.user_kill.killer = host.fork_killer() if mended else None
    host.harden()


def token_after_kill(found: str, mended: bool) -> dict[str, Any]:
    """Kill a job that forks all the time, then run a program with a token; is it read?"""
    begin(mended=mended)

    async def play() -> dict[str, Any]:
        async with process.collect_orphans(0.02):
            await own_user(USER)
            async with attacked(attacks.FORKER, found):
                pass
            remove = host.spawn(["sleep", "60"], {"TOKEN": "secret"}, Path("/"), USER)
            is_over = lambda: Path(found).exists() or list_own() == [remove.pid]  # noqa: E731
            await wait_until(is_over, QUIET_LOOKS)
            return {"read": Path(found).exists()}

    return asyncio.run(play())
