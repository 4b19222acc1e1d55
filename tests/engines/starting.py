"""Who starts a container, and how: what jobs use, each told of an image and a command alone."""

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
from tests.engines.matrix import Found
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.engines.places import Place
    from tests.engines.proxied import Proxied

    Start = Callable[[Place, Proxied, Sequence[str]], str]
    """Runs a command in a new container; returns what it printed."""

CLIENTS = ("boto3", "AWS CLI 2", "JavaScript v3", "rclone (Go)")
RAW_SOCKET = "/var/run/docker.sock"
"""Where a job's script, or the runner itself, takes the daemon's socket from."""

_PROGRAM = REPOSITORY / "tests" / "engines" / "starters.py"
_VOLUMES = [*USERLAND[1::2], f"/host{REPOSITORY}/tests/engines:/programs:ro"]
_TELL = "env | sed -n 's/^AWS_/told &/p'; exec \"$@\""


@dataclass(frozen=True)
class Told:
    """What a container was told of AWS, and whom its clients are."""

    environment: dict[str, str]
    found: dict[str, Found]

    @property
    def path(self) -> str | None:
        """The path that was minted for it."""
        return self.environment.get(matrix.RELATIVE_URI)


def asked(place: Place, proxied: Proxied, starter: str) -> Told:
    """Have all clients ask in a container that one of STARTERS starts."""
    everyone = ("python3", "/programs/everyone.py", place.task.aws, place.task.s3, *CLIENTS)
    said = STARTERS[starter](place, proxied, ("sh", "-c", _TELL, "sh", *everyone))
    found = [Found(**json.loads(line)) for line in re.findall(r"FOUND (\{.*\})", said)]
    told = dict(re.findall(r"told (\w+)=(\S*)", said))
    return Told(told, {one.client: one for one in found})


def _volumes(*more: str) -> list[str]:
    return [f"--volume={volume}" for volume in (*_VOLUMES, *more)]


def _command_line(_: Place, proxied: Proxied, argv: Sequence[str]) -> str:
    return proxied.engine.docker("run", "--rm", *_volumes(), EMPTY, *argv, timeout=matrix.TIMEOUT)


def _compose(place: Place, proxied: Proxied, argv: Sequence[str]) -> str:
    """Bring a project up, by the compose that is of the engine's time."""
    command = [word.replace("$", "$$") for word in argv]
    service = {"image": EMPTY, "command": command, "volumes": _VOLUMES}
    text = json.dumps({"services": {"clients": service}}).encode()
    compose = ("docker-compose",) if place.kind == places.OWN else ("docker", "compose")
    project = f"project-{secrets.token_hex(4)}"

    def run(*verb: str) -> str:
        told = (*compose, "--file", "-", "--project-name", project, *verb)
        return proxied.engine.inside(*told, text=text, timeout=matrix.TIMEOUT)

    try:
        return run("up", "--no-color", "--abort-on-container-exit")
    finally:
        run("down")


def _library(name: str) -> Start:
    def start(_: Place, proxied: Proxied, argv: Sequence[str]) -> str:
        done = subprocess.run(
            [sys.executable, _PROGRAM, name, EMPTY, json.dumps(_VOLUMES), *argv],
            check=False,
            env={"PATH": os.defpath, "DOCKER_HOST": str(proxied.engine.host)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=matrix.TIMEOUT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return start


@contextmanager
def inside_a_container(proxied: Proxied) -> Iterator[Callable[..., str]]:
    """Start a container with the socket; gives what runs `docker ARGV` in it."""
    name = f"client-{secrets.token_hex(4)}"
    volumes = _volumes("/clients:/clients:ro", f"{RAW_SOCKET}:{RAW_SOCKET}")
    wait = ("sh", "-c", "trap exit TERM; sleep infinity & wait")
    proxied.engine.docker("run", "--detach", "--name", name, *volumes, EMPTY, *wait)
    try:
        yield lambda *argv: proxied.engine.docker(
            "exec", name, "docker", *argv, timeout=matrix.TIMEOUT
        )
    finally:
        proxied.engine.docker("rm", "--force", name)


def _container(_: Place, proxied: Proxied, argv: Sequence[str]) -> str:
    """Start it from within a container that has the socket."""
    with inside_a_container(proxied) as docker:
        return docker("run", "--rm", *_volumes(), EMPTY, *argv)


STARTERS: dict[str, Start] = {
    "docker": _command_line,
    "compose": _compose,
    "Docker SDK for Python": _library("Docker SDK for Python"),
    "aiodocker": _library("aiodocker"),
    "testcontainers": _library("testcontainers"),
    "a container with the socket": _container,
}
