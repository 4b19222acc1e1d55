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
"""The task's own address, as in its metadata."""


@dataclass(frozen=True)
class Task:
    """The task, and the services on its far side."""

    space: Space
    far: Space
    environment: dict[str, str]
    """The variables that ECS sets in the task's containers."""
    aws: str = f"http://{GATEWAY}:{AWS_PORT}"
    """The URL of STS and SSM."""
    s3: str = f"http://{GATEWAY}:{S3_PORT}"

    @property
    def relative_uri(self) -> str:
        """The path of the task role's credentials at the ECS agent."""
        return self.environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]

    def agent_requests(self) -> list[dict[str, Any]]:
        """List the requests that reached the ECS agent (see `local.ecs_agent.agent.Seen`)."""
        return _fetch(self.far, f"http://{ECS_AGENT}/_local/requests")

    def instance_requests(self) -> list[dict[str, Any]]:
        """List the requests that reached the instance's metadata (see `local.imds.Seen`)."""
        return _fetch(self.far, f"http://{INSTANCE_METADATA}/_local/requests")


@contextmanager
def create(network_mode: str = "awsvpc") -> Iterator[Task]:
    """Make a task and its far side within the block."""
    with spaces.create() as space, add_far_side(space, network_mode) as task:
        yield task


@contextmanager
def add_far_side(task: Space, network_mode: str = "awsvpc") -> Iterator[Task]:
    """Make a namespace a task's by adding its far side, within the block."""
    with spaces.create() as far:
        spaces.connect(task, "eth0", far, "vpc")
        spaces.connect(task, "ecs-eth0", far, "ecs-bridge")
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
            environment = _fetch(far, f"http://{ECS_AGENT}/_local/environment")
            full = environment.pop("AWS_CONTAINER_CREDENTIALS_FULL_URI")
            environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = urllib.parse.urlsplit(full).path
            yield Task(task, far, environment)


@contextmanager
def _far_side(far: Space, network_mode: str) -> Iterator[None]:
    program = (sys.executable, "-m", "tests.engines.far", "--network-mode", network_mode)
    argv = [*spaces.DIE_WITH_PARENT, *far.argv(*program)]
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


def _fetch(space: Space, url: str) -> Any:
    return json.loads(space.fetch(url))
