"""A task in network mode awsvpc: a network namespace of its own, and what is on the far side.

                    eth0 10.0.2.61 ---- 10.0.2.1 (AWS), 169.254.169.254
    the task                                                              the far side
                    ecs-eth0 169.254.172.2 ---- 169.254.172.1, 169.254.170.2

Neither has a way out, so that no packet for these addresses leaves the machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.parse
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.engines import spaces
from tests.engines.far import AWS_PORT, ECS_AGENT, GATEWAY, INSTANCE_METADATA, S3_PORT
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.spaces import Space

ADDRESS = "10.0.2.61"
"""The task's own, as its metadata says."""


@dataclass(frozen=True)
class Task:
    """The task, and what its far side offers."""

    space: Space
    far: Space
    environment: dict[str, str]
    """What ECS sets in the task's containers."""
    aws: str = f"http://{GATEWAY}:{AWS_PORT}"
    """The URL of STS and SSM."""
    s3: str = f"http://{GATEWAY}:{S3_PORT}"

    @property
    def relative_uri(self) -> str:
        """The path of the task role's credentials at the ECS agent."""
        return self.environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]

    def asked_of_agent(self) -> list[dict[str, Any]]:
        """List the requests that reached the ECS agent (see `local.ecs_agent.Seen`)."""
        return _got(self.far, f"http://{ECS_AGENT}/_local/requests")

    def asked_of_instance(self) -> list[dict[str, Any]]:
        """List the requests that reached the instance's metadata (see `local.imds.Seen`)."""
        return _got(self.far, f"http://{INSTANCE_METADATA}/_local/requests")


@contextmanager
def made(network_mode: str = "awsvpc") -> Iterator[Task]:
    """Put up a task and its far side for the block."""
    with spaces.made() as space, surrounded(space, network_mode) as task:
        yield task


@contextmanager
def surrounded(task: Space, network_mode: str = "awsvpc") -> Iterator[Task]:
    """Make a namespace a task's by putting up its far side, for the block."""
    with spaces.made() as far:
        spaces.joined(task, "eth0", far, "vpc")
        spaces.joined(task, "ecs-eth0", far, "ecs-bridge")
        for command in (
            f"addr add {GATEWAY}/24 dev vpc",
            "addr add 169.254.172.1/22 dev ecs-bridge",
            f"addr add {INSTANCE_METADATA}/32 dev vpc",
            f"addr add {ECS_AGENT}/32 dev ecs-bridge",
        ):
            far.ip(command)
        for command in (
            f"addr add {ADDRESS}/24 dev eth0",
            "addr add 169.254.172.2/22 dev ecs-eth0",
            f"route add {INSTANCE_METADATA}/32 via {GATEWAY} dev eth0",
            f"route add {ECS_AGENT}/32 via 169.254.172.1 dev ecs-eth0",
        ):
            task.ip(command)
        with _far_side(far, network_mode):
            told = _got(far, f"http://{ECS_AGENT}/_local/environment")
            full = told.pop("AWS_CONTAINER_CREDENTIALS_FULL_URI")
            told["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = urllib.parse.urlsplit(full).path
            yield Task(task, far, told)


@contextmanager
def _far_side(far: Space, network_mode: str) -> Iterator[None]:
    program = (sys.executable, "-m", "tests.engines.far", "--network-mode", network_mode)
    argv = [*spaces.DYING_WITH_US, *far.argv(*program)]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline().startswith(b"ready "), "no far side"
            yield
        finally:
            process.terminate()
            try:
                process.wait(spaces.TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()


def _got(space: Space, url: str) -> Any:
    return json.loads(space.got(url))
