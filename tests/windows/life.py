"""The stage of a whole life on Windows: the agent and the runner under wine, all else on Linux."""

from __future__ import annotations

import asyncio
import functools
import secrets
import shutil
import time
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from local.runner.windows.installing import build_launcher, install
from tests.lives.stage import PATIENCE, ROOT, Life, Stage, open_stage
from tests.windows.wine import (
    CTRL_SHUTDOWN,
    GONE_SECONDS,
    Process,
    Wine,
    WineError,
    translate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

AGENT = Path(__file__).with_name("agent.py")
LISTENER, WORKER = "Runner.Listener.exe", "Runner.Worker.exe"
LONG_PATIENCE = 3 * PATIENCE
HEALTH_CHECKS = 5
"""How many are made at most; each waits for 2 s."""
SLEEPER = "import time; time.sleep(600)"
GATE = """\
import pathlib, time
print("at the gate", flush=True)
while not pathlib.Path(r"{}").exists():
    time.sleep(0.05)
print("through")
"""


class WindowsStage(Stage):
    """The stage of one life, in `wine` by the Windows Python of a `version`."""

    wine: Wine
    version: str

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
            "SIDECAR_RUNNER_DIR": translate(self.runner_folder),
        }

    def start_agent(
        self,
        env: Mapping[str, str | None] | None = None,
        options: Sequence[str] = (),
        *,
        sends_break: bool = True,
    ) -> AbstractAsyncContextManager[Life]:
        """Start `run` with `options`; after the block nothing of it is left.

        Without `sends_break` it is as a process without a console: it cannot send Ctrl-Break.
        """
        program = (translate(AGENT),) if sends_break else ("-m", "sidecar")
        return self.life(self._make_command(*program, "run", *options), env=env)

    async def wait_for(self, look: Callable[[], Any], what: str) -> Any:
        """Wait longer than other stages do: a start under wine takes seconds, not tenths."""
        found = await self.world.changes.until(lambda: look() or None, LONG_PATIENCE)
        assert found is not None, f"GitHub never saw: {what}"
        return found

    async def is_healthy(self, port: int) -> bool:
        """Return whether a health check succeeds. ECS, too, asks again: one answer may be late."""
        for _ in range(HEALTH_CHECKS):
            if await self.run_agent("health", f"127.0.0.1:{port}") == 0:
                return True
        return False

    async def run_agent(self, *words: str) -> int:
        """Run another command of the agent to its end; return its exit code."""
        argv = self._make_command("-m", "sidecar", *words)
        quiet = asyncio.subprocess.DEVNULL
        command = await asyncio.create_subprocess_exec(
            *argv, cwd=ROOT, env=self.environment(), stdin=quiet, stdout=quiet, stderr=quiet
        )
        return await asyncio.wait_for(command.wait(), PATIENCE)

    def _make_command(self, *words: str) -> tuple[str, ...]:
        return self.wine.command([self.wine.python(self.version), *words])

    # -- a job's steps -----------------------------------------------------------------------

    def run_python(self, program: str) -> str:
        """Return a step that runs a Python program on Windows."""
        path = self.folder / f"step-{secrets.token_hex(4)}.py"
        path.write_text(program)
        return f"{self.wine.python(self.version)} -I {translate(path)}"

    def make_gate(self) -> tuple[str, Callable[[], None]]:
        """Return a step that prints `at the gate` and waits, and the call that lets it go on."""
        path = self.folder / f"gate-{secrets.token_hex(4)}"
        return self.run_python(GATE.format(translate(path))), path.touch

    # -- its processes -----------------------------------------------------------------------

    def find_agent(self) -> Process:
        """Return the agent's process: the one that no other of them has started.

        Beside it may be, for a moment, one that has ended and whose parent is gone.
        """
        deadline = time.monotonic() + GONE_SECONDS
        while True:
            listed = self.wine.list_processes()
            pids = {each.pid for each in listed}
            found = [each for each in listed if each.parent not in pids]
            if len(found) == 1:
                return found[0]
            assert time.monotonic() < deadline, listed
            time.sleep(0.05)

    def stop_agent(self, life: Life, event: int = CTRL_SHUTDOWN) -> None:
        """Deliver a console event to the agent alone."""
        life.note_stop()
        self.wine.send_event(self.find_agent().pid, event)

    def stop_container(self, life: Life, *, agent_last: bool = False) -> None:
        """Deliver CTRL_SHUTDOWN to each process that has a console, as a container's stop does.

        The worker has none, nor have the steps below it. The agent, which came first, gets it
        first or last.
        """
        life.note_stop()
        listed = self.wine.list_processes()
        deaf = {each.pid for each in listed if each.name == WORKER}
        while more := {each.pid for each in listed if each.parent in deaf} - deaf:
            deaf |= more
        for process in reversed(listed) if agent_last else listed:
            if process.pid not in deaf:
                self._send_shutdown(process)

    def _send_shutdown(self, process: Process) -> None:
        try:
            self.wine.send_event(process.pid, CTRL_SHUTDOWN)
        except WineError:
            # What heard it before may have ended this one meanwhile: nobody is left to hear it.
            deadline = time.monotonic() + GONE_SECONDS
            while process in self.wine.list_processes():
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def find_processes(self) -> dict[int, str]:
        """Return the processes that still run."""
        return {each.pid: each.name for each in self.wine.find_left()}


def install_runner(wine: Wine, version: str, folder: Path) -> Path:
    """Lay out a runner's folder in `folder`, compiled, to be copied for each life."""
    python = str(PureWindowsPath(wine.python(version)).parent)
    root = install(folder / "runner", build_launcher(folder), python, powershell=True)
    done = wine.run([translate(root / "bin" / LISTENER), "warmup"])
    assert done.code == 0, done.output
    return root


def open_windows_stage(
    wine: Wine, version: str, runner: Path, moto: str = "", **options: Any
) -> AbstractAsyncContextManager[WindowsStage]:
    """Open a stage for one life, with a copy of `runner`; `options` are those of `open_stage`."""
    kind = type("Stage", (WindowsStage,), {"wine": wine, "version": version})
    copy = functools.partial(shutil.copytree, runner)
    return open_stage(moto, kind=kind, install_runner=copy, **options)
