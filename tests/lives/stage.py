"""The stage of one test: `local.stage` with what tests look at and change.

Every test has a stage of its own, so that many can run side by side. The agent on it is a real
process, known by its log; nothing here imports it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import signal
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp

from local import agent, leftovers, ssm, stage
from local.agent import IS_ROOT, OTHER_USER, PATIENCE, AgentProcess
from local.runner import install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from local.github.jobs import Job

__all__ = ["IS_ROOT", "OTHER_USER", "PATIENCE"]

ROOT = Path(__file__).parents[2]
REPOSITORY = "octo/repo"

ON_UVLOOP = (sys.executable, "-m", "sidecar", "run")
HIDE_UVLOOP = (
    "import sys; sys.modules['uvloop'] = None; "
    "from sidecar.__main__ import main; sys.exit(main(['run', *sys.argv[1:]]))"
)
ON_ASYNCIO = (sys.executable, "-c", HIDE_UVLOOP)
LOOPS = {"uvloop": ON_UVLOOP, "asyncio": ON_ASYNCIO}
AS_PID_1 = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def run_side_by_side(*plays: Coroutine[Any, Any, None], timeout: float = 4 * PATIENCE) -> None:
    """Run `plays` side by side to their ends; then raise what went wrong in any of them."""

    async def run() -> None:
        results = await asyncio.wait_for(asyncio.gather(*plays, return_exceptions=True), timeout)
        failures = [result for result in results if isinstance(result, BaseException)]
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise BaseExceptionGroup("more than one life went wrong", failures)

    asyncio.run(run())


class Stage(stage.Stage):
    """The stage of one life. `http` is a session for the test's own requests."""

    def __init__(
        self,
        stand_ins: stage.StandIns,
        folder: Path,
        runner_folder: Path,
        http: aiohttp.ClientSession,
    ) -> None:
        self.mark = folder.name
        """A word that is in the environment of each of the life's processes."""
        super().__init__(stand_ins, folder, runner_folder, REPOSITORY, f"/lives/{self.mark}")
        self.http = http
        self.token = ""
        """The token that was put last: no log may hold it."""

    # -- before a life -----------------------------------------------------------------------

    async def call_ssm(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """Call SSM from outside, past all faults; returns None if there is no such parameter."""
        return await asyncio.to_thread(ssm.call, self.moto, operation, **arguments)

    async def put(self, value: str | None = None, kind: str = "SecureString") -> str:
        """Write the token's parameter as a launcher does; returns its value."""
        self.token = self.mint_token() if value is None else value
        await asyncio.to_thread(ssm.put, self.moto, self.parameter, self.token, kind)
        return self.token

    async def read_parameter(self) -> str | None:
        """Return what the token's parameter holds now; None if it is gone."""
        return await asyncio.to_thread(ssm.read, self.moto, self.parameter)

    def job(self, *steps: str, name: str = "build", **more: Any) -> Job:
        """Queue a job of these steps."""
        return self.queue_job({"name": name, "steps": [{"run": step} for step in steps], **more})

    def make_gate(self) -> tuple[str, Callable[[], None]]:
        """Return a step that prints `at the gate` and waits, and the call that lets it go on."""
        path = self.folder / f"gate-{secrets.token_hex(4)}"
        step = f'echo "at the gate"; while [ ! -e {path} ]; do sleep 0.05; done; echo "through"'
        return step, path.touch

    def give_up(self, job: Job, seconds: float = 1.0) -> None:
        """Make GitHub end the job `seconds` from now, as a job that its runner does not renew.

        Its listener is not told: it would end by itself, when a busy machine lets it.
        """
        self.world.settings.gone_after = 3600.0
        self.world.settings.lost_after = seconds
        self.world.renew(job)

    async def wait_for(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until `look` finds something in GitHub's state; `what` names it."""
        found = await self.world.changes.until(lambda: look() or None, PATIENCE)
        assert found is not None, f"GitHub never saw: {what}"
        return found

    async def wait_for_output(self, job: Job, text: str) -> None:
        """Wait until the job has printed `text`."""
        await self.wait_for(lambda: text in read_output(job), f"{text!r} in the job's log")

    # -- the life ----------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return the agent's environment: ECS's, a launcher's, and the coverage tool's."""
        kept = [key for key in os.environ if key.startswith(("COVERAGE", "PYTHONPATH"))]
        return {
            **super().environment(),
            **{key: os.environ[key] for key in kept},
            "SIDECAR_LOG_LEVEL": "debug",
            "SIDECAR_STOP_TIMEOUT": "30",
            "SIDECAR_ECR_REGISTRIES": "off",  # this machine may have ECR's helper, or not
        }

    @asynccontextmanager
    async def life(
        self,
        argv: Sequence[str] = ON_UVLOOP,
        *options: str,
        env: Mapping[str, str | None] | None = None,
    ) -> AsyncIterator[Life]:
        """Start the agent; after the block nothing of it is left, whatever went wrong.

        `env` changes its environment; None removes a variable.
        """
        merged = {**self.environment(), **(env or {})}
        given = {key: value for key, value in merged.items() if value is not None}
        async with Life.start((*argv, *options), given, self.folder, ROOT) as life:
            try:
                yield life
            except BaseException:
                print(life.transcript(), file=sys.stderr)  # pytest shows it with the failure
                raise

    # -- after it ----------------------------------------------------------------------------

    def find_processes(self) -> dict[int, str]:
        """Return the processes of the life that still run: number and command line."""
        return leftovers.find(self.folder)

    def kill_processes(self) -> None:
        """Kill the processes of the life that still run, as the end of a container does."""
        leftovers.kill(self.folder)

    async def check_no_processes(self) -> None:
        """Check that no process of an ended life runs.

        The agent waits two seconds for the child that kills, which then ends by itself.
        """

        def killers() -> list[int]:
            comms = {pid: read_file(f"/proc/{pid}/comm") for pid in self.find_processes()}
            return [pid for pid, comm in comms.items() if comm.strip() == b"sidecar-killer"]

        await wait_until(lambda: not killers(), "the end of the child that kills")
        assert self.find_processes() == {}

    async def check_end(self, life: Life, code: int, *, left: Sequence[str] = ()) -> None:
        """Check what must be true after any life; `left` names the cleanup steps that fail."""
        assert await life.wait_for_end() == code
        (end,) = life.find_events("life.ended")
        assert end["exit_code"] == code
        assert life.events[-1] is end
        failed = {event["undo"]: event["reason"] for event in life.find_events("cleanup.failed")}
        assert sorted(failed) == sorted(left), failed
        assert all(failed.values()), "each has a reason"
        if "token" not in left:
            assert await self.read_parameter() is None, "the token is still in SSM"
        if "runner" not in left:
            assert [runner.name for runner in self.world.runners] == []
        await self.check_no_processes()
        assert self.token == "" or self.token not in life.text, "the token was logged"


class Life(AgentProcess):
    """An agent that a test watches; it may be the first process of a namespace of its own."""

    @functools.cached_property
    def pid(self) -> int:
        """The agent's own number; not that of the program that gave it a namespace."""
        if self.argv[:1] != AS_PID_1[:1]:
            return self.process.pid
        deadline = time.monotonic() + PATIENCE
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not (found := children.read_text().split()):
            assert time.monotonic() < deadline
        return int(found[0])

    async def wait_for_age(self, seconds: float) -> None:
        """Wait until it is this old: only for promises about a moment."""
        assert self.pid  # as PID 1 its age begins when its namespace has it
        await asyncio.sleep(seconds)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal: a stop, as ECS or a person sends it, unless another is named."""
        super().signal(number)

    def handles_sigterm(self) -> bool:
        """Return whether it has a handler for SIGTERM already."""
        for line in read_file(f"/proc/{self.pid}/status").decode().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
        return False


def read_output(job: Job) -> str:
    """Return the job's log without the steps' own scripts, which each step's log begins with."""
    lines = job.log().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("\x1b[36;1m", "##[group]")))


def list_processes() -> list[str]:
    """Return the numbers of all processes."""
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read_file(path: str) -> bytes:
    """Return what a file holds; nothing if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


AnyStage = TypeVar("AnyStage", bound=Stage)


@asynccontextmanager
async def open_stage(
    moto: str = "",
    *,
    kind: type[AnyStage] = Stage,  # type: ignore[assignment]
    install_runner: Callable[[Path], Path] = install,
    **options: Any,
) -> AsyncIterator[AnyStage]:
    """Open a stage for one life.

    `moto` is the endpoint of an SSM that several stages share, `kind` the class of the stage,
    `install_runner` makes the runner's folder, and `options` are those of
    `local.stage.start_stand_ins`.
    """
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(agent.make_folder("life-"))
        runner_folder = install_runner(folder / "runner")
        http = await stack.enter_async_context(aiohttp.ClientSession())
        started = await stack.enter_async_context(stage.start_stand_ins(moto, **options))
        yield kind(started, folder, runner_folder, http)


async def wait_until(look: Callable[[], Any], what: str) -> None:
    """Wait for the state of processes and files, for which there are no events."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.02)
