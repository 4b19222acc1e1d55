"""The stage on which whole lives are played: SSM, GitHub, the ECS agent, a runner's folder.

Every life has a stage of its own, so that many can be played side by side. The agent on it is a
real process, known by what it logs; nothing here imports it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from local import aws, ecs_agent, faults, github
from local.runner import install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from local.github.jobs import Job
    from local.github.world import World

ROOT = Path(__file__).parents[2]
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
OTHER_USER = "nobody"
"""Whom the runner's processes run as where the tests are root."""

PATIENCE = 60.0
"""Seconds that anything on a busy machine may take before a test gives up."""

ON_UVLOOP = (sys.executable, "-m", "sidecar", "run")
HIDE_UVLOOP = (
    "import sys; sys.modules['uvloop'] = None; "
    "from sidecar.__main__ import main; sys.exit(main(['run', *sys.argv[1:]]))"
)
ON_ASYNCIO = (sys.executable, "-c", HIDE_UVLOOP)
LOOPS = {"uvloop": ON_UVLOOP, "asyncio": ON_ASYNCIO}
AS_PID_1 = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def played(*plays: Coroutine[Any, Any, None], timeout: float = 4 * PATIENCE) -> None:
    """Run `plays` side by side to their ends; then tell of each that failed."""

    async def run() -> None:
        results = await asyncio.wait_for(asyncio.gather(*plays, return_exceptions=True), timeout)
        failures = [result for result in results if isinstance(result, BaseException)]
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise BaseExceptionGroup("more than one life went wrong", failures)

    asyncio.run(run())


@dataclass
class Stage:
    """What surrounds one life."""

    moto: str
    ssm: faults.Proxy
    github: github.GitHub
    ecs: ecs_agent.Agent
    folder: Path
    """A folder that everybody may read and write in."""
    root: Path
    """The runner's folder."""
    http: aiohttp.ClientSession
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    token: str = ""

    # -- before a life -----------------------------------------------------------------------

    @property
    def world(self) -> World:
        """GitHub's state."""
        return self.github.world

    @property
    def parameter(self) -> str:
        """The name of the token's parameter."""
        return f"/lives/{self.mark}"

    @property
    def scope(self) -> str:
        """Where the runner is to be registered."""
        return f"{self.github.url}/octo/repo"

    def minted(self, expires_in: float = 3600) -> str:
        """Have GitHub give out a registration token."""
        from local.github.scope import Scope

        scope = Scope.of_path("/repos/octo/repo")
        return self.world.mint("registration", scope, expires_in).value

    async def aws_call(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """Call SSM from outside, past all faults; None if there is no such parameter."""
        signed = f"Credential=AKIALOCAL/20260101/{aws.REGION}/ssm/aws4_request"
        headers = {
            "X-Amz-Target": f"AmazonSSM.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            "Authorization": f"AWS4-HMAC-SHA256 {signed}, SignedHeaders=host, Signature=0",
        }
        body = json.dumps(arguments)
        async with self.http.post(self.moto, data=body, headers=headers) as answer:
            said = await answer.json(content_type=None)
            if "ParameterNotFound" in str(said):
                return None
            assert answer.status == 200, said
            return said

    async def put(self, value: str | None = None, kind: str = "SecureString") -> str:
        """Write the token's parameter as a launcher does; give its value."""
        value = self.minted() if value is None else value
        self.token = value
        await self.aws_call(
            "PutParameter", Name=self.parameter, Value=value, Type=kind, Overwrite=True
        )
        return value

    async def held(self) -> str | None:
        """Return what the parameter holds now; None if it is gone."""
        found = await self.aws_call("GetParameter", Name=self.parameter, WithDecryption=True)
        return found["Parameter"]["Value"] if found else None

    def misbehave(self, **knobs: Any) -> None:
        """Make the runner's program misbehave (local/README.md)."""
        (self.root / ".misbehave.json").write_text(json.dumps(knobs))

    def job(self, *steps: str, name: str = "build", **more: Any) -> Job:
        """Queue a job."""
        wanted = {"name": name, "steps": [{"run": step} for step in steps], **more}
        return self.world.jobs.add(wanted, self.world.now())

    def gate(self) -> tuple[str, Callable[[], None]]:
        """Give a step that says `at the gate` and waits, and what lets it go on."""
        path = self.folder / f"gate-{secrets.token_hex(4)}"
        step = f'echo "at the gate"; while [ ! -e {path} ]; do sleep 0.05; done; echo "through"'
        return step, path.touch

    def give_up(self, job: Job, seconds: float = 1.0) -> None:
        """Let GitHub give the job up `seconds` from now, as one that nobody renews any more."""
        self.world.settings.lost_after = seconds
        self.world.renew(job)

    async def until(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until GitHub's state is as `look` wants it."""
        found = await self.world.changes.until(lambda: look() or None, PATIENCE)
        assert found is not None, f"GitHub never saw: {what}"
        return found

    async def logged(self, job: Job, text: str) -> None:
        """Wait until the job has printed `text`."""
        await self.until(lambda: text in printed(job), f"{text!r} in the job's log")

    # -- the life ----------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Return what a launcher and ECS would set, and a mark to find every process by."""
        kept = ("PATH", "PYTHONPATH", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "LANG")
        return {
            **{key: os.environ[key] for key in kept if key in os.environ},
            **{key: value for key, value in os.environ.items() if key.startswith("COVERAGE")},
            **self.ecs.environment,
            "AWS_REGION": aws.REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ENDPOINT_URL_SSM": self.ssm.url,
            "LIFE_MARK": self.mark,
            "SIDECAR_TOKEN_PARAMETER": self.parameter,
            "SIDECAR_GITHUB_URL": self.scope,
            "SIDECAR_RUNNER_DIR": str(self.root),
            "SIDECAR_LOG_LEVEL": "debug",
            "SIDECAR_LOG_FORMAT": "json",
            "SIDECAR_HEALTH_ADDRESS": "127.0.0.1:0",
            "SIDECAR_STOP_TIMEOUT": "30",
            **({"SIDECAR_RUNNER_USER": OTHER_USER} if IS_ROOT else {}),
        }

    @asynccontextmanager
    async def life(
        self,
        argv: Sequence[str] = ON_UVLOOP,
        *options: str,
        env: Mapping[str, str | None] | None = None,
    ) -> AsyncIterator[Life]:
        """Start the agent; after the block nothing of it is left, whatever went wrong."""
        merged = {**self.environment(), **(env or {})}
        process = await asyncio.create_subprocess_exec(
            *argv,
            *options,
            env={key: value for key, value in merged.items() if value is not None},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        life = Life(process, inside=argv[:1] == AS_PID_1[:1])
        try:
            async with asyncio.TaskGroup() as reading:
                reading.create_task(life.read())
                reading.create_task(life.read_errors())
                try:
                    yield life
                except BaseException:
                    print(life.transcript(), file=sys.stderr)  # pytest shows it with the failure
                    raise
                finally:
                    if process.returncode is None:
                        process.kill()
                    self.sweep()
                    await process.wait()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    # -- after it ----------------------------------------------------------------------------

    def survivors(self) -> dict[int, str]:
        """List what still runs of the life: its mark, or the runner's folder, tells."""
        mark, root, found = self.mark.encode(), os.fsencode(self.root), {}
        for entry in processes():
            argv = content(f"/proc/{entry}/cmdline")
            if mark in content(f"/proc/{entry}/environ") or root in argv or self._in(entry):
                found[int(entry)] = argv.replace(b"\0", b" ").decode(errors="replace")
        return found

    def _in(self, entry: str) -> bool:
        try:
            return Path(f"/proc/{entry}/cwd").readlink().is_relative_to(self.root)
        except OSError:
            return False

    def sweep(self) -> None:
        """Kill what is left, so that a failed test leaves nothing behind."""
        for pid in self.survivors():
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    async def settled(self, life: Life, code: int, *, left: Sequence[str] = ()) -> None:
        """Hold what must be true after any life; `left` names what could not be undone."""
        assert await life.ended() == code
        (end,) = life.all("life.ended")
        assert end["exit_code"] == code
        assert life.events[-1] is end
        failed = {event["undo"]: event["reason"] for event in life.all("cleanup.failed")}
        assert sorted(failed) == sorted(left), failed
        assert all(failed.values()), "each tells why"
        if "token" not in left:
            assert await self.held() is None, "the token is still in SSM"
        if "runner" not in left:
            assert [runner.name for runner in self.world.runners] == []
        assert self.survivors() == {}
        assert self.token == "" or self.token not in life.text, "the token was logged"


def printed(job: Job) -> str:
    """Return the job's log without the steps' own scripts, which each step's log begins with."""
    lines = job.log().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith(("\x1b[36;1m", "##[group]")))


def processes() -> list[str]:
    """List the numbers of all processes."""
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def content(path: str) -> bytes:
    """Return what a file holds; nothing if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


class Life:
    """The agent as its surroundings know it: a process that logs."""

    def __init__(self, process: asyncio.subprocess.Process, *, inside: bool) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.text = ""
        self.errors = ""
        self.over = False
        self._inside = inside
        self._news = asyncio.Condition()
        self._stopped_at: float | None = None

    async def read(self) -> None:
        """Take every line of the log."""
        assert self.process.stdout
        self.process.stdout._limit = 1 << 24  # type: ignore[attr-defined]  # long lines, too
        async for line in self.process.stdout:
            self.text += line.decode(errors="replace")
            async with self._news:
                if line.startswith(b"{"):
                    self.events.append(json.loads(line))
                self._news.notify_all()
        async with self._news:
            self.over = True
            self._news.notify_all()

    async def read_errors(self) -> None:
        """Take what it writes beside the log."""
        assert self.process.stderr
        self.process.stderr._limit = 1 << 24  # type: ignore[attr-defined]
        async for line in self.process.stderr:
            self.errors += line.decode(errors="replace")
            async with self._news:
                if line.startswith(b"{"):  # where stdout is a command's own, the log is here
                    self.events.append(json.loads(line))
                self._news.notify_all()

    def transcript(self) -> str:
        """Show all it said."""
        return f"--- the life's log\n{self.text}--- its stderr\n{self.errors}---"

    def all(self, name: str, **facts: Any) -> list[dict[str, Any]]:
        """List the events of that name that have these facts."""
        wanted = {"event": name, **facts}
        return [event for event in self.events if wanted.items() <= event.items()]

    async def event(self, name: str, *, count: int = 1, **facts: Any) -> dict[str, Any]:
        """Wait for an event; it may have come already."""

        def there() -> bool:
            return self.over or len(self.all(name, **facts)) >= count

        async with self._news:
            await asyncio.wait_for(self._news.wait_for(there), PATIENCE)
        found = self.all(name, **facts)
        assert len(found) >= count, f"it ended without {name} {facts}"
        return found[count - 1]

    async def said(self, text: str) -> None:
        """Wait until `text` has come out of it."""
        async with self._news:
            there = self._news.wait_for(lambda: self.over or text in self.text)
            await asyncio.wait_for(there, PATIENCE)
        assert text in self.text, f"it ended without saying {text!r}"

    async def phase(self, name: str) -> None:
        """Wait until it has entered a phase."""
        await self.event("phase.entered", phase=name)

    @functools.cached_property
    def pid(self) -> int:
        """The agent's own number; not that of the program that gave it a namespace."""
        if not self._inside:
            return self.process.pid
        deadline = time.monotonic() + PATIENCE
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not (found := children.read_text().split()):
            assert time.monotonic() < deadline
        return int(found[0])

    async def aged(self, seconds: float) -> None:
        """Let it get this old; for what is promised of a moment, and only that."""
        assert self.pid  # as PID 1 its age begins when its namespace has it
        await asyncio.sleep(seconds)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a stop, as ECS or a person does."""
        self._stopped_at = self._stopped_at or time.monotonic()
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Wait for its end; give its exit code."""
        code = await asyncio.wait_for(self.process.wait(), 2 * PATIENCE)
        if self._stopped_at is not None:
            self.took = time.monotonic() - self._stopped_at
        async with self._news:
            await asyncio.wait_for(self._news.wait_for(lambda: self.over), PATIENCE)
        return code

    took: float | None = None
    """Seconds from the first signal to the end."""

    @property
    def hears(self) -> bool:
        """Whether it has a handler for SIGTERM already."""
        return _has_handler(self.pid)

    def loaded(self) -> str:
        """List the libraries that it has loaded by now."""
        return content(f"/proc/{self.pid}/maps").decode()


def _has_handler(pid: int) -> bool:
    for line in content(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="life-"))
    folder.chmod(0o1777)  # the job's user comes by as well
    return folder


@asynccontextmanager
async def staged(moto: str) -> AsyncIterator[Stage]:
    """Put up a stage of its own for one life; `moto` is the endpoint of SSM, shared by all."""
    async with AsyncExitStack() as down:
        enter = down.enter_async_context
        folder = _folder()
        down.callback(shutil.rmtree, folder, ignore_errors=True)
        root = install(folder / "runner")
        http = await enter(aiohttp.ClientSession())
        ssm = await enter(faults.serving(moto))
        hub = await enter(github.serving())
        agent = await enter(ecs_agent.serving())
        yield Stage(moto, ssm, hub, agent, folder, root, http)


async def eventually(look: Callable[[], Any], what: str) -> None:
    """Wait for what no event tells: the state of processes and files."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.02)
