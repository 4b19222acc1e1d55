"""Start containers in all the ways that jobs use; each gets an image and a command only."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.engines import matrix, places
from tests.engines.engine import EMPTY, USERLAND
from tests.engines.matrix import ClientResult
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.engines.places import Place
    from tests.engines.proxied import ProxiedLife

    Start = Callable[[Place, ProxiedLife, Sequence[str]], str]
    """Runs a command in a new container; returns its output."""

CLIENTS = ("boto3", "AWS CLI 2", "JavaScript v3", "rclone (Go)")
RAW_SOCKET = "/var/run/docker.sock"
"""The path from which a job's script, or the runner itself, takes the engine's socket."""

_PROGRAM = REPOSITORY / "tests" / "engines" / "starters.py"
_VOLUMES = [*USERLAND[1::2], f"/host{REPOSITORY}/tests/engines:/programs:ro"]
_PRINT_VARIABLES = "env | sed -n 's/^AWS_/told &/p'; exec \"$@\""


@dataclass(frozen=True)
class ContainerResult:
    """The AWS variables of a container, and the results of its clients."""

    environment: dict[str, str]
    results: dict[str, ClientResult]

    @property
    def path(self) -> str | None:
        """The path that was minted for it."""
        return self.environment.get(matrix.RELATIVE_URI)


def ask_all(place: Place, life: ProxiedLife, starter: str) -> ContainerResult:
    """Run all clients in a container that one of STARTERS starts."""
    everyone = ("python3", "/programs/everyone.py", place.task.aws, place.task.s3, *CLIENTS)
    output = STARTERS[starter](place, life, ("sh", "-c", _PRINT_VARIABLES, "sh", *everyone))
    results = [ClientResult(**json.loads(line)) for line in re.findall(r"FOUND (\{.*\})", output)]
    variables = dict(re.findall(r"told (\w+)=(\S*)", output))
    return ContainerResult(variables, {one.client: one for one in results})


def _volumes(*more: str) -> list[str]:
    return [f"--volume={volume}" for volume in (*_VOLUMES, *more)]


def _command_line(_: Place, life: ProxiedLife, argv: Sequence[str]) -> str:
    return life.engine.docker_run(*_volumes(), EMPTY, *argv, timeout=matrix.TIMEOUT)


def _compose(place: Place, life: ProxiedLife, argv: Sequence[str]) -> str:
    """Start a compose project, by the compose of the engine's time."""
    command = [word.replace("$", "$$") for word in argv]
    service = {"image": EMPTY, "command": command, "volumes": _VOLUMES}
    text = json.dumps({"services": {"clients": service}}).encode()
    compose = ("docker-compose",) if place.kind == places.DEBIAN_12 else ("docker", "compose")
    project = f"project-{secrets.token_hex(4)}"

    def run(*verb: str) -> str:
        arguments = (*compose, "--file", "-", "--project-name", project, *verb)
        return life.engine.run_command(*arguments, text=text, timeout=matrix.TIMEOUT)

    try:
        run("up", "--no-color", "--abort-on-container-exit")
        return run("logs", "--no-color")  # who follows a container may lose its last lines
    finally:
        run("down")


def _library(name: str) -> Start:
    def start(_: Place, life: ProxiedLife, argv: Sequence[str]) -> str:
        done = subprocess.run(
            [sys.executable, _PROGRAM, name, EMPTY, json.dumps(_VOLUMES), *argv],
            check=False,
            env={"PATH": os.defpath, "DOCKER_HOST": str(life.engine.host)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=matrix.TIMEOUT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return start


@contextmanager
def run_client_container(life: ProxiedLife) -> Iterator[Callable[..., str]]:
    """Run a container with the engine's socket; yield a function that runs `docker ARGV` in it."""
    name = f"client-{secrets.token_hex(4)}"
    volumes = _volumes("/clients:/clients:ro", f"{RAW_SOCKET}:{RAW_SOCKET}")
    wait = ("sh", "-c", "trap exit TERM; sleep infinity & wait")
    life.engine.docker("run", "--detach", "--name", name, *volumes, EMPTY, *wait)
    try:
        yield lambda *argv: life.engine.docker(
            "exec", name, "docker", *argv, timeout=matrix.TIMEOUT
        )
    finally:
        life.engine.docker("rm", "--force", name)


def _container(_: Place, life: ProxiedLife, argv: Sequence[str]) -> str:
    """Start it from a container that has the socket."""
    with run_client_container(life) as docker:
        return docker("run", "--rm", *_volumes(), EMPTY, *argv)


STARTERS: dict[str, Start] = {
    "docker": _command_line,
    "compose": _compose,
    "Docker SDK for Python": _library("Docker SDK for Python"),
    "aiodocker": _library("aiodocker"),
    "testcontainers": _library("testcontainers"),
    "a container with the socket": _container,
}
