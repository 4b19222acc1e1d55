"""The stage that every figure shares: stand-ins as separate programs, and lives upon them.

Nothing here is imported from the agent: it is measured as the command that a container runs.
The stand-ins run apart from the bench, so that neither waits for the other's interpreter.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.child import Child
from bench.cores import pinned
from local import aws, runner

if TYPE_CHECKING:
    from collections.abc import Iterator

AGENT = (str(Path(sys.executable).with_name("runner-sidecar")), "run")
SCOPE = "/repos/octo/repo"
READY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the services are, and a folder for what lives leave behind."""

    ssm: str
    github: str
    ecs: str
    agent: dict[str, str]
    """The variables by which the ECS agent stand-in is found."""
    folder: Path
    names: Iterator[int]
    instead: dict[str, str] = field(default_factory=dict)
    """Variables that lead a life elsewhere, behind a proxy."""

    def token(self) -> str:
        """Put a fresh registration token into SSM; return the parameter's name."""
        name = f"/bench/{next(self.names)}"
        asked = {"scope": SCOPE, "expires_in": 3600}
        minted = call(f"{self.github}/_local/registration-tokens", asked)
        put(self.ssm, name, minted["token"])
        return name

    def queue(self, *steps: str) -> None:
        """Queue one job."""
        asked = {"name": "bench", "steps": [{"run": step} for step in steps]}
        call(f"{self.github}/_local/jobs", asked)

    def fifo(self) -> Path:
        """Make a FIFO that the runner's user may use, for a job and the bench to meet."""
        path = self.folder / f"fifo-{next(self.names)}"
        os.mkfifo(path)
        path.chmod(0o666)  # whatever the umask
        return path

    def runner(self, **misbehaviour: Any) -> Path:
        """Lay out a runner's folder of its own, with knobs for how it misbehaves."""
        path = self.folder / f"runner-{next(self.names)}"
        path.mkdir()
        if misbehaviour:
            (path / ".misbehave.json").write_text(json.dumps(misbehaviour))
        return runner.install(path)

    def environment(self, parameter: str, root: Path, **more: str) -> dict[str, str]:
        """Return the whole environment of one life."""
        return {
            **base_environment(),
            **self.agent,
            "AWS_ENDPOINT_URL_SSM": self.ssm,
            "SIDECAR_TOKEN_PARAMETER": parameter,
            "SIDECAR_GITHUB_URL": f"{self.github}/octo/repo",
            "SIDECAR_RUNNER_DIR": str(root),
            "SIDECAR_HEALTH_ADDRESS": "127.0.0.1:0",
            "SIDECAR_LOG_FORMAT": "json",
            **({"SIDECAR_RUNNER_USER": "nobody"} if os.geteuid() == 0 else {}),
            **self.instead,
            **more,
        }


def base_environment() -> dict[str, str]:
    """Return what every measured program sees: nothing of the developer's own account."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "AWS_REGION": aws.REGION,
        "AWS_DEFAULT_REGION": aws.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@contextmanager
def life(env: dict[str, str], argv: tuple[str, ...] = AGENT) -> Iterator[Child]:
    """Start one life (or its floor); after the block nothing of it runs."""
    child = Child(argv, env)
    try:
        yield child
    finally:
        child.kill()


@contextmanager
def waiting(stage: Stage, tell: str, **more: str) -> Iterator[tuple[Child, str]]:
    """Live a life on a core of its own whose job waits for the block's end.

    Gives the life, and what the shell command `tell` said within the job. `more` are variables of
    the life. Raises RuntimeError if no job ran.
    """
    said, release = stage.fifo(), stage.fifo()
    stage.queue(f"{tell} > {said}; read -r _ < {release}")
    env = stage.environment(stage.token(), stage.runner(), **more)
    with ExitStack() as ends:
        hearing, telling = (os.open(fifo, os.O_RDWR | os.O_NONBLOCK) for fifo in (said, release))
        ends.callback(os.close, hearing)
        ends.callback(os.close, telling)
        with pinned(0):
            child = ends.enter_context(life(env))
        if not select.select([hearing], [], [], READY_SECONDS)[0]:
            child.kill()
            raise RuntimeError(f"no job ran: {''.join(child.said)}")
        yield child, os.read(hearing, 4096).decode().strip()
        os.write(telling, b"go on\n")
        child.ended()


@contextmanager
def standing() -> Iterator[Stage]:
    """Start the stand-ins, none of which delays anything, and end them with the block."""
    with ExitStack() as ends:
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        ends.callback(swept, folder)
        folder.chmod(0o755)  # the runner's user passes through
        ssm = ends.enter_context(program("local.aws"))
        github = ends.enter_context(program("local.github"))
        ecs = ends.enter_context(program("local.ecs_agent"))
        variables = call(f"{ecs}/_local/environment")
        yield Stage(ssm, github, ecs, variables, folder, count(1))


@contextmanager
def program(module: str, *arguments: str) -> Iterator[str]:
    """Run `python -m module`; give the URL that it says it is ready at."""
    argv = [sys.executable, "-m", module, *arguments]
    env = {**base_environment(), "PYTHONWARNINGS": "ignore"}
    root = Path(__file__).parent.parent
    with subprocess.Popen(argv, cwd=root, env=env, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout  # noqa: S101  tells the type checker what the line above says
        try:
            word, _, url = child.stdout.readline().strip().partition(" ")
            if word != "ready":
                raise RuntimeError(f"cannot start {module}: it said {word!r} (run it alone)")
            yield url
        finally:
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()


def swept(folder: Path) -> int:
    """Kill every program that runs out of `folder`; return how many a killed life left there."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                count += 1
    return count


def call(url: str, body: object = None) -> Any:
    """Ask a stand-in for JSON; with a body it is a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def put(endpoint: str, name: str, value: str) -> None:
    """Write a SecureString as the SDK would, without loading one into the process that measures.

    The stand-in checks no signature; it takes the region from it.
    """
    scope = f"local/20260101/{aws.REGION}/ssm/aws4_request"
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AmazonSSM.PutParameter",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
    }
    body = {"Name": name, "Value": value, "Type": "SecureString", "Overwrite": True}
    request = urllib.request.Request(endpoint, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=READY_SECONDS):
        pass
