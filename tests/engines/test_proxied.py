"""A life whose jobs reach a real engine through the agent: each container has its own path."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.engines import lives
from tests.engines.engine import EMPTY, PATH, USERLAND
from tests.engines.far import ECS_AGENT
from tests.engines.proxied import shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.lives import Living
    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root]

URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
ASK = (
    f"curl --silent --max-time 5 --output /dev/null --write-out '%{{http_code}}' http://{ECS_AGENT}"
)


class Client:
    """The docker client, as a job runs it."""

    def __init__(self, socket: str) -> None:
        self.env = {"PATH": PATH, "DOCKER_HOST": f"unix://{socket}"}

    def __call__(self, *argv: str) -> str:
        """Run `docker ARGV` to its end; return what it printed."""
        done = subprocess.run(
            ["docker", *argv], check=False, env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def started(self, *options: str) -> str:
        """Start a container that waits; return its id."""
        return self("run", "--detach", *USERLAND, *options, EMPTY, "sleep", "600")

    def environment(self, container: str) -> dict[str, str]:
        """Return what a container was told."""
        told = json.loads(self("inspect", "--format", "{{json .Config.Env}}", container))
        return dict(entry.split("=", 1) for entry in told)

    def status(self, container: str, path: str) -> str:
        """Ask for credentials from within a container; return the status."""
        return self("exec", container, "sh", "-c", f"{ASK}{path}")


@contextmanager
def proxied(place: Place) -> Iterator[tuple[Client, Living]]:
    """Give a job's docker client, and the life; nothing of it is left in the shared folder."""
    with shared(place.engine) as folder:
        env = {"SIDECAR_DOCKER_PROXY": "on", "SIDECAR_SHARED_DIR": str(folder)}
        with lives.living(place, **env) as living:
            (event,) = living.life.find_events("docker.proxy_started")
            yield Client(event["socket"]), living
        assert list(folder.iterdir()) == []


def test_each_container_has_a_path_while_it_runs(place: Place) -> None:
    """Two have two, neither may use the other's; stopped it is void, started again good again."""
    with proxied(place) as (docker, living):
        one, two = docker.started(), docker.started()
        paths = [docker.environment(container)[URI] for container in (one, two)]
        assert len({*paths, living.environment[URI]}) == 3
        assert docker.status(one, paths[0]) == "200"
        assert docker.status(two, paths[1]) == "200"
        assert docker.status(two, paths[0]) == "403"
        docker("stop", "--time", "0", one)
        assert docker.status(two, paths[0]) == "400"
        docker("start", one)
        assert docker.status(one, paths[0]) == "200"
        docker("rm", "--force", one)
        assert docker.status(two, paths[0]) == "400"
        docker("rm", "--force", two)


@pytest.mark.parametrize("network", ["host", "container"])
def test_a_container_without_an_address_of_its_own_has_a_path(place: Place, network: str) -> None:
    """It asks from the task's own address, or from another container's."""
    with proxied(place) as (docker, _):
        one = docker.started()
        other = docker.started("--network", "host" if network == "host" else f"container:{one}")
        path = docker.environment(other)[URI]
        assert [docker.status(other, path) for _ in range(3)] == ["200"] * 3
        docker("rm", "--force", one, other)


def test_a_container_gets_the_proxy_s_socket_and_no_other(place: Place) -> None:
    """Whatever path it mounts the daemon's by, what it starts has a path of its own as well."""
    with proxied(place) as (docker, living):
        mounted = "/var/run/docker.sock:/var/run/docker.sock"
        inner = ("docker", "run", "--rm", *USERLAND, EMPTY, "printenv", URI)
        told = docker("run", "--rm", *USERLAND, "--volume", mounted, EMPTY, *inner)
        assert told.startswith("/v2/credentials/")
        assert told != living.environment[URI]
