"""The agent as those see it who start it: an environment, a folder, a process that logs.

Nothing here imports the agent. It is started as the command that a container runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from local import aws, leftovers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

COMMAND = (str(Path(sys.executable).with_name("runner-sidecar")), "run")
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
OTHER_USER = "nobody"
"""Who the runner's processes run as where the agent is root."""
PATIENCE = 60.0
"""Seconds that anything may take on a busy machine before waiting for it fails."""
LONGEST_LINE = 1 << 24
NO_SERVICE = "http://127.0.0.1:9"
"""Where nobody listens: a call to a service without a stand-in is refused at once."""


class EndedError(RuntimeError):
    """The agent ended before it did what was waited for."""


# --- its environment ----------------------------------------------------------------------------


def base_environment() -> dict[str, str]:
    """Return what every program sees: a region, and nothing of this machine's own AWS account."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "AWS_REGION": aws.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def environment(
    *,
    ssm: str,
    ecs: Mapping[str, str],
    github_url: str,
    parameter: str,
    runner_folder: Path,
    folder: Path,
) -> dict[str, str]:
    """Return the agent's whole environment: what ECS sets, and what a launcher sets.

    `ssm` is the URL of SSM, `ecs` the variables by which ECS tells a container where its agent is,
    `github_url` where to register, `parameter` the name of the token's parameter. `folder` is the
    stage's, by which its processes are found (`local.leftovers`).
    """
    return {
        **base_environment(),
        **ecs,
        leftovers.MARK: str(folder),
        "AWS_ENDPOINT_URL": NO_SERVICE,
        "AWS_ENDPOINT_URL_SSM": ssm,
        "SIDECAR_TOKEN_PARAMETER": parameter,
        "SIDECAR_GITHUB_URL": github_url,
        "SIDECAR_RUNNER_DIR": str(runner_folder),
        "SIDECAR_HEALTH_ADDRESS": "127.0.0.1:0",
        "SIDECAR_LOG_FORMAT": "json",
        **({"SIDECAR_RUNNER_USER": OTHER_USER} if IS_ROOT else {}),
    }


def runner_user() -> str:
    """Return the user that the runner's processes run as: another one only beside root."""
    if sys.platform == "win32":
        raise NotImplementedError("cannot name the runner's user: this needs POSIX")
    import pwd  # not there on Windows

    if IS_ROOT:
        return OTHER_USER
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container that was started with any number as its user
        return str(os.geteuid())


# --- its folders --------------------------------------------------------------------------------


@contextmanager
def make_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder that every user may read and write; it goes with the block.

    The processes that still belong to it are killed first.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_find_temporary_folder()))
    try:
        folder.chmod(0o1777)  # the runner's user works in there, too
        yield folder
    finally:
        leftovers.kill(folder)
        _remove(folder)


def misbehave(runner_folder: Path, **knobs: Any) -> None:
    """Make the runner's program misbehave (local/README.md has the knobs)."""
    (runner_folder / ".misbehave.json").write_text(json.dumps(knobs), encoding="utf-8")


def _find_temporary_folder() -> str:
    """Return a folder for temporary files that every user can reach."""
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108
        path = Path(place).resolve()
        if path.is_dir() and all(
            each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents)
        ):
            return str(path)
    return tempfile.gettempdir()


def _remove(folder: Path) -> None:
    """Remove a folder into which a process or a thread that just ends may still write."""
    for _ in range(100):
        with suppress(OSError):
            shutil.rmtree(folder)
        if not folder.exists():
            return
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


# --- its process --------------------------------------------------------------------------------


class AgentProcess:
    """An agent that runs, or has ended: its events, all that it printed, its signals, its end."""

    def __init__(self, argv: Sequence[str], process: asyncio.subprocess.Process) -> None:
        self.argv = argv
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.text = ""
        """What it printed on standard output: its log."""
        self.errors = ""
        """What it printed on standard error."""
        self.closed = False
        """Whether its log has ended."""
        self.stop_seconds: float | None = None
        """Seconds from the first signal to the end."""
        self.signals = 0
        """How many signals it was sent."""
        self._changed = asyncio.Condition()
        self._stopped_at: float | None = None

    @classmethod
    @asynccontextmanager
    async def start(
        cls, argv: Sequence[str], env: Mapping[str, str], folder: Path, cwd: Path | None = None
    ) -> AsyncIterator[Self]:
        """Start the agent; after the block no process of the stage in `folder` is left."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the program that started it
            limit=LONGEST_LINE,
        )
        agent = cls(argv, process)
        try:
            async with asyncio.TaskGroup() as reading:
                reading.create_task(agent._read_log())
                reading.create_task(agent._read_errors())
                try:
                    yield agent
                finally:
                    if process.returncode is None:
                        process.kill()
                    leftovers.kill(folder)
                    await process.wait()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _read_log(self) -> None:
        assert self.process.stdout  # noqa: S101
        async for line in self.process.stdout:
            self.text += line.decode(errors="replace")
            await self._take(line)
        async with self._changed:
            self.closed = True
            self._changed.notify_all()

    async def _read_errors(self) -> None:
        assert self.process.stderr  # noqa: S101
        async for line in self.process.stderr:
            self.errors += line.decode(errors="replace")
            await self._take(line)  # where standard output is a command's own, the log is here

    async def _take(self, line: bytes) -> None:
        async with self._changed:
            if line.startswith(b"{"):
                self.events.append(json.loads(line))
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        """The agent's process number."""
        return self.process.pid

    def transcript(self) -> str:
        """Return all that it printed, for a person who looks for a mistake."""
        return f"--- the agent's log\n{self.text}--- its stderr\n{self.errors}---"

    # -- its events --------------------------------------------------------------------------

    def find_events(self, name: str, **facts: Any) -> list[dict[str, Any]]:
        """Return the events of that name that have these facts."""
        wanted = {"event": name, **facts}
        return [event for event in self.events if wanted.items() <= event.items()]

    def last_event(self, name: str) -> dict[str, Any]:
        """Return the last event of that name; nothing if there was none."""
        return next(iter(self.find_events(name)[-1:]), {})

    async def follow(self) -> AsyncIterator[dict[str, Any]]:
        """Give each event as it is logged, until the log ends."""
        given = 0
        while await self._has_more_than(given):
            for event in self.events[given:]:
                given += 1
                yield event

    async def _has_more_than(self, given: int) -> bool:
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed or len(self.events) > given)
        return len(self.events) > given

    async def wait_for_event(self, name: str, *, count: int = 1, **facts: Any) -> dict[str, Any]:
        """Wait for the event that is number `count` of its kind; it may have come already.

        Raises EndedError if the log ends without it.
        """
        async with self._changed:
            there = self._changed.wait_for(
                lambda: self.closed or len(self.find_events(name, **facts)) >= count
            )
            await asyncio.wait_for(there, PATIENCE)
        found = self.find_events(name, **facts)
        if len(found) < count:
            raise EndedError(f"it ended without {name} {facts}")
        return found[count - 1]

    async def wait_for_phase(self, name: str) -> None:
        """Wait until it has entered a phase; raises EndedError if it never does."""
        await self.wait_for_event("phase.entered", phase=name)

    async def wait_for_text(self, text: str) -> None:
        """Wait until it has printed `text`; raises EndedError if it never does."""
        async with self._changed:
            there = self._changed.wait_for(lambda: self.closed or text in self.text)
            await asyncio.wait_for(there, PATIENCE)
        if text not in self.text:
            raise EndedError(f"it ended without printing {text!r}")

    # -- its end -----------------------------------------------------------------------------

    def note_stop(self) -> None:
        """Take note that it is asked to stop now, in whatever way."""
        self._stopped_at = self._stopped_at or time.monotonic()
        self.signals += 1

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.note_stop()
        os.kill(self.pid, number)

    async def wait_for_end(self) -> int:
        """Wait for its end; return its exit code, negative for the signal that killed it."""
        code = await asyncio.wait_for(self.process.wait(), 2 * PATIENCE)
        if self._stopped_at is not None:
            self.stop_seconds = time.monotonic() - self._stopped_at
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: self.closed), PATIENCE)
        return code
