"""Hold: a life whose job took the machine's resources still gives everything back at its end.

Each ending of the demo is played with what a job leaves: 100 MB of memory and 16 processes, 256
open files, no room on the disk. Memory and processes are limited by a control group of the test's
own, of either version, whichever may be made here.
"""

from __future__ import annotations

import asyncio
import shlex
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from local.demo.endings import ENDINGS
from tests.lives.stage import ON_UVLOOP, open_stage, run_side_by_side, wait_until

pytestmark = pytest.mark.root

MEMORY, PROCESSES, FILES = 100 << 20, 16, 256
GROUPS = Path("/sys/fs/cgroup")
FILES_OF_MEMORY = {  # how much is in use, and the limit: version 2, version 1
    "memory.current": "memory.max",
    "memory.usage_in_bytes": "memory.limit_in_bytes",
}


class ControlGroup:
    """Control groups of one name, one for each hierarchy that has a limit."""

    def __init__(self, name):
        self.name = name
        self.folders = {}
        """The group's folder by what it limits: memory and pids."""

    def make(self):
        """Make those that can be made."""
        version_2 = (GROUPS / "cgroup.controllers").exists()
        for kind in ("memory", "pids"):
            parent = GROUPS if version_2 else GROUPS / kind
            try:
                if version_2:
                    (parent / "cgroup.subtree_control").write_text(f"+{kind}")
                (parent / self.name).mkdir(exist_ok=True)
            except OSError:
                continue
            self.folders[kind] = parent / self.name

    @property
    def joining(self):
        """Shell commands by which a process joins them."""
        return "".join(f"echo $$ >{path}/cgroup.procs; " for path in set(self.folders.values()))

    def leave_little(self):
        """Take everything but a little, as a job would that holds it."""
        if "pids" in self.folders:
            current = int((self.folders["pids"] / "pids.current").read_text())
            assert current > 1, "the agent is not in the group"
            (self.folders["pids"] / "pids.max").write_text(str(current + PROCESSES))
        if "memory" in self.folders:
            for used, most in FILES_OF_MEMORY.items():
                if (self.folders["memory"] / used).exists():
                    current = int((self.folders["memory"] / used).read_text())
                    (self.folders["memory"] / most).write_text(str(current + MEMORY))

    async def remove(self):
        """Remove them, as soon as their last process is gone."""
        for path in set(self.folders.values()):
            await wait_until(lambda path=path: _remove(path), f"{path} without processes")


def _remove(path):
    try:
        path.rmdir()
    except OSError:
        return False
    return True


@asynccontextmanager
async def little_memory(stage):
    """Give the start of an agent, and what leaves it little memory and few processes."""
    group = ControlGroup(f"little-{stage.mark}")
    group.make()
    if not group.folders:
        pytest.skip("no control group can be made here")
    try:
        yield ("sh", "-c", f'{group.joining}exec "$@"', "sh"), lambda _: group.leave_little()
    finally:
        await group.remove()


@asynccontextmanager
async def few_files(stage):
    """Give the start of an agent that may open few files."""
    del stage
    yield ("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh"), lambda _: None


SMALL = """\
mount -t tmpfs -o size=24m,mode=755 none {disk} && cp -a {root}/. {disk}/ &&
mount --bind {disk} {root} && exec "$@"
"""


@asynccontextmanager
async def full_disk(stage):
    """Give the start of an agent with a small disk, and what fills it."""
    disk, root = stage.folder / "disk", stage.runner_folder
    disk.mkdir()
    script = SMALL.format(disk=disk, root=root)

    def fill(life):
        with Path(f"/proc/{life.pid}/root{root}/fill").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass

    mounting = f'exec unshare --mount --propagation private sh -c {shlex.quote(script)} sh "$@"'
    yield ("sh", "-c", mounting, "sh"), fill


async def play(aws, name, limit):
    """Play one ending of the demo; the resources are taken as soon as the runner has them."""
    ending = ENDINGS[name]
    async with open_stage(aws) as stage, limit(stage) as (start, take):
        await stage.put()
        stage.misbehave(**ending.misbehaves)
        step, open_gate = stage.make_gate()
        if ending.stop_when == "busy":
            step += "; sleep 600"
        job = stage.job(step) if ending.steps else None
        env = {"SIDECAR_STOP_TIMEOUT": str(min(ending.stop_timeout, 27))}
        async with stage.life((*start, *ON_UVLOOP), env=env) as life:
            if job is not None:
                await stage.wait_for_output(job, "at the gate")
            elif ending.stop_when:
                await life.wait_for_phase("idle")
            else:
                await life.wait_for_event("runner.registered")
            await asyncio.to_thread(take, life)
            open_gate()
            if ending.stop_when:
                life.signal()
            if job is not None:
                stage.give_up(job, 10.0)  # it cannot always report how its job ended
            await stage.check_end(life, ending.exit_code)


@pytest.mark.parametrize("limit", [little_memory, few_files, full_disk])
def test_every_ending_gives_everything_back(aws, limit):
    """Token, runner and processes are gone, and the exit code is that of the demo."""
    run_side_by_side(*(play(aws, name, limit) for name in ENDINGS))
