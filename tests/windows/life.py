"""The stage of a whole life on Windows: the agent and the runner under wine, all else on Linux."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lives.stage import PATIENCE, ROOT, Life, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

CONTROLLER = Path(__file__).with_name("controller.py")
AGENT = Path(__file__).with_name("agent.py")
CTRL_C, CTRL_BREAK, CTRL_CLOSE, CTRL_SHUTDOWN = 0, 1, 2, 6
"""Console events. A container's stop is CTRL_SHUTDOWN, to each process that has a console."""
OF_THE_SYSTEM = {
    "conhost.exe", "explorer.exe", "plugplay.exe", "rpcss.exe", "services.exe", "svchost.exe",
    "start.exe", "winedevice.exe", "wineboot.exe",
}  # fmt: skip
"""Programs that wine runs for itself."""
LISTENER, WORKER = "Runner.Listener.exe", "Runner.Worker.exe"
GONE_SECONDS = 5.0
"""Seconds that a process which was ended may still be in a snapshot."""
GATE = """\
import pathlib, time
print("at the gate", flush=True)
while not pathlib.Path(r"{}").exists():
    time.sleep(0.05)
print("through")
"""


def name_on_windows(path: Path) -> str:
    """Return how wine names a path of this machine."""
    return "Z:" + str(path).replace("/", "\\")


@dataclass(frozen=True)
class Wine:
    """A wine with a prefix of its own, and a Python for Windows."""

    command: tuple[str, ...]
    prefix: Path
    python: Path

    @property
    def environment(self) -> dict[str, str]:
        """What wine itself needs."""
        return {"WINEPREFIX": str(self.prefix), "PATH": os.environ["PATH"], "WINEDEBUG": "-all"}


@dataclass(frozen=True)
class Process:
    """A Windows process."""

    pid: int
    parent: int
    name: str


class Controller:
    """The program under wine that looks at processes, and sends them events."""

    def __init__(self, wine: Wine) -> None:
        self._program = subprocess.Popen(
            [*wine.command, wine.python, CONTROLLER],
            env=wine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._before = {pid for pid, _, _ in self._ask("list")}

    def _ask(self, line: str) -> Any:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(line + "\n")
        self._program.stdin.flush()
        return json.loads(self._program.stdout.readline())

    def list_processes(self) -> list[Process]:
        """Return the processes that came after this one and are not wine's own."""
        listed = (Process(*each) for each in self._ask("list"))
        return [
            process
            for process in listed
            if process.pid not in self._before and process.name.lower() not in OF_THE_SYSTEM
        ]

    def send(self, process: Process, event: int) -> None:
        """Deliver a console event to a process."""
        assert self._ask(f"event {process.pid} {event}") is True, f"{process} is gone"

    def kill(self, process: Process) -> None:
        """End a process at once, as TerminateProcess does."""
        assert self._ask(f"kill {process.pid}") is True, f"{process} is gone"

    def close(self) -> None:
        """End the program."""
        self._program.communicate(timeout=10)


class WindowsStage(Stage):
    """The stage of one life."""

    wine: Wine
    controller: Controller

    def environment(self) -> dict[str, str]:
        """Return the agent's environment: nothing in it is this machine's but wine's own."""
        given = super().environment()
        for name in ("LANG", "SIDECAR_RUNNER_USER"):
            given.pop(name, None)
        return {
            **given,
            **self.wine.environment,
            "AWS_CONFIG_FILE": "NUL",
            "AWS_SHARED_CREDENTIALS_FILE": "NUL",
            "SIDECAR_RUNNER_DIR": name_on_windows(self.runner_folder),
        }

    def start_agent(
        self, env: Mapping[str, str | None] | None = None, *, sends_break: bool = True
    ) -> AbstractAsyncContextManager[Life]:
        """Start the agent; after the block nothing of it is left.

        Without `sends_break` it is as a process without a console: it cannot send Ctrl-Break.
        """
        program = (str(AGENT),) if sends_break else ("-m", "sidecar")
        argv = (*self.wine.command, str(self.wine.python), *program, "run")
        return self.life(argv, env=env)

    async def run_agent(self, *words: str) -> int:
        """Run another command of the agent to its end, as a health check; return its exit code."""
        argv = (*self.wine.command, str(self.wine.python), "-m", "sidecar", *words)
        quiet = asyncio.subprocess.DEVNULL
        command = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, env=self.environment(), stdin=quiet, stdout=quiet, stderr=quiet
        )
        return await asyncio.wait_for(command.wait(), PATIENCE)

    # -- a job's steps -----------------------------------------------------------------------

    def run_python(self, program: str) -> str:
        """Return a step that runs a Python program on Windows."""
        path = self.folder / f"step-{secrets.token_hex(4)}.py"
        path.write_text(program)
        return f"{name_on_windows(self.wine.python)} -I {name_on_windows(path)}"

    def make_gate(self) -> tuple[str, Callable[[], None]]:
        """Return a step that prints `at the gate` and waits, and the call that lets it go on."""
        path = self.folder / f"gate-{secrets.token_hex(4)}"
        return self.run_python(GATE.format(name_on_windows(path))), path.touch

    # -- its processes -----------------------------------------------------------------------

    def find(self, name: str) -> Process:
        """Return the only process of that name."""
        (found,) = (each for each in self.controller.list_processes() if each.name == name)
        return found

    def find_agent(self) -> Process:
        """Return the agent's process: the one that no other of them has started."""
        listed = self.controller.list_processes()
        pids = {each.pid for each in listed}
        (found,) = (each for each in listed if each.parent not in pids)
        return found

    def stop_agent(self, life: Life, event: int = CTRL_SHUTDOWN) -> None:
        """Deliver a console event to the agent alone."""
        life.note_stop()
        self.controller.send(self.find_agent(), event)

    def stop_container(self, life: Life) -> None:
        """Deliver CTRL_SHUTDOWN to each process that has a console, as a container's stop does.

        The worker has none, nor have the steps below it.
        """
        life.note_stop()
        listed = self.controller.list_processes()
        deaf = {each.pid for each in listed if each.name == WORKER}
        while more := {each.pid for each in listed if each.parent in deaf} - deaf:
            deaf |= more
        for process in listed:
            if process.pid not in deaf:
                self.controller.send(process, CTRL_SHUTDOWN)

    def find_processes(self) -> dict[int, str]:
        """Return the processes that still run; one that was ended has a moment to go."""
        deadline = time.monotonic() + GONE_SECONDS
        while left := {each.pid: each.name for each in self.controller.list_processes()}:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return left
