"""The stage that every figure shares: stand-ins as programs of their own, and lives beside them.

The agent is measured as the command that a container runs; nothing here imports it. The stand-ins
are programs, so that they and the bench do not wait for each other's interpreter.
"""

from __future__ import annotations

import json
import os
import select
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from bench.child import Child
from bench.cores import pinned
from local import agent, aws, programs, runner, ssm
from local.agent import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AGENT = COMMAND
SCOPE = "/repos/octo/repo"
READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Stage:
    """The addresses of the stand-ins, and a folder for the files of all lives."""

    ssm: str
    github: str
    ecs: str
    agent: dict[str, str]
    """The variables by which the ECS agent stand-in is found."""
    folder: Path
    names: Iterator[int]
    overrides: dict[str, str] = field(default_factory=dict)
    """Variables that lead the agent to other addresses, as those of proxies."""

    def token(self) -> str:
        """Put a new registration token into SSM; returns the parameter's name."""
        name = f"/bench/{next(self.names)}"
        wanted = {"scope": SCOPE, "expires_in": 3600}
        token = call(f"{self.github}/_local/registration-tokens", wanted)["token"]
        ssm.put(self.ssm, name, token)
        return name

    def queue(self, *steps: str) -> None:
        """Queue one job of these steps."""
        call(f"{self.github}/_local/jobs", {"name": "bench", "steps": [{"run": s} for s in steps]})

    def fifo(self) -> Path:
        """Make a FIFO that the runner's user may use, between a job and the bench."""
        path = self.folder / f"fifo-{next(self.names)}"
        os.mkfifo(path)
        path.chmod(0o666)  # whatever the umask
        return path

    def runner(self, **misbehaviour: Any) -> Path:
        """Install a runner in a folder of its own; `misbehaviour` are its knobs."""
        path = runner.install(self.folder / f"runner-{next(self.names)}")
        if misbehaviour:
            agent.misbehave(path, **misbehaviour)
        return path

    def environment(self, parameter: str, root: Path, **more: str) -> dict[str, str]:
        """Return the whole environment of one life."""
        return {
            **agent.environment(
                ssm=self.ssm,
                ecs=self.agent,
                github_url=f"{self.github}/octo/repo",
                parameter=parameter,
                runner_folder=root,
                folder=self.folder,
            ),
            **base_environment(),
            **self.overrides,
            **more,
        }


def base_environment() -> dict[str, str]:
    """Return what every measured program sees: nothing of this machine's own AWS account."""
    return {
        **agent.base_environment(),
        "HOME": "/nonexistent",
        "AWS_DEFAULT_REGION": aws.REGION,
    }


@contextmanager
def life(env: dict[str, str], argv: tuple[str, ...] = AGENT) -> Iterator[Child]:
    """Start one agent, or a program that it is compared with; after the block it has ended."""
    child = Child(argv, env)
    try:
        yield child
    finally:
        child.kill()


@contextmanager
def hold_job(stage: Stage, command: str, **more: str) -> Iterator[tuple[Child, str]]:
    """Run an agent, on a core of its own, whose job waits until the end of the block.

    Gives the agent, and what the shell command `command` printed within the job. `more` are
    variables of the agent. Raises RuntimeError if no job ran.
    """
    output, release = stage.fifo(), stage.fifo()
    stage.queue(f"{command} > {output}; read -r _ < {release}")
    env = stage.environment(stage.token(), stage.runner(), **more)
    with ExitStack() as ends:
        reading, writing = (os.open(fifo, os.O_RDWR | os.O_NONBLOCK) for fifo in (output, release))
        ends.callback(os.close, reading)
        ends.callback(os.close, writing)
        with pinned(0):
            child = ends.enter_context(life(env))
        if not select.select([reading], [], [], READY_SECONDS)[0]:
            child.kill()
            raise RuntimeError(f"no job ran: {''.join(child.said)}")
        yield child, os.read(reading, 4096).decode().strip()
        os.write(writing, b"go on\n")
        child.ended()


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Start the stand-ins, none of which delays anything; they end with the block."""
    with ExitStack() as stack:
        folder = stack.enter_context(agent.make_folder("bench-"))
        parameters = stack.enter_context(program("local.aws"))
        github = stack.enter_context(program("local.github", "--control-path", "/_local"))
        ecs = stack.enter_context(program("local.ecs_agent"))
        variables = call(f"{ecs}/_local/environment")
        yield Stage(parameters, github, ecs, variables, folder, count(1))


@contextmanager
def program(module: str, *arguments: str) -> Iterator[str]:
    """Run `python -m module`; gives the URL of its line "ready URL"."""
    env = {**base_environment(), "PYTHONWARNINGS": "ignore"}
    with programs.run("-m", module, *arguments, env=env) as url:
        yield url


def call(url: str, body: object = None) -> Any:
    """Call a stand-in and return its JSON; with a body it is a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
        text = answer.read()
    return json.loads(text) if text else None
