"""Jobs reach a real engine through the agent's proxy, and each container has its own path."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.engines import lives
from tests.engines.engine import EMPTY, PATH, USERLAND
from tests.engines.far import ECS_AGENT
from tests.engines.proxied import share_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.lives import RunningLife
    from tests.engines.places import Place

pytestmark = [pytest.mark.docker, pytest.mark.root]

PATIENCE = 60.0
URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
CURL = (
    "curl --silent --max-time 30 --output /dev/null --write-out '%{http_code}' "
    f"http://{ECS_AGENT}"
)


class DockerClient:
    """The docker client, as a job runs it."""

    def __init__(self, socket: str) -> None:
        self.env = {"PATH": PATH, "DOCKER_HOST": f"unix://{socket}"}

    def __call__(self, *argv: str) -> str:
        """Run `docker ARGV` to its end; return its output."""
        done = subprocess.run(
            ["docker", *argv], check=False, env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self, *options: str) -> str:
        """Start a container that waits; return its id."""
        return self("run", "--detach", *USERLAND, *options, EMPTY, "sleep", "600")

    def environment(self, container: str) -> dict[str, str]:
        """Return a container's variables."""
        output = json.loads(self("inspect", "--format", "{{json .Config.Env}}", container))
        return dict(entry.split("=", 1) for entry in output)

    def status(self, container: str, path: str) -> str:
        """Request credentials from within a container; return the status."""
        return self("exec", container, "sh", "-c", f"{CURL}{path}")

    def wait_for_status(self, container: str, path: str, wanted: str) -> None:
        """Request credentials until the status is this one: the agent hears by the engine's events.

        An event may come later than the answer to the request that brought it about.
        """
        until = time.monotonic() + PATIENCE
        while (status := self.status(container, path)) != wanted:
            assert time.monotonic() < until, status


@contextmanager
def run_life(place: Place) -> Iterator[tuple[DockerClient, RunningLife]]:
    """Run an agent; yield its job's client. Fails if the shared folder is not empty later."""
    with share_folder(place.engine) as folder:
        env = {"SIDECAR_DOCKER_PROXY": "on", "SIDECAR_SHARED_DIR": str(folder)}
        with lives.run_life(place, **env) as life:
            (event,) = life.life.find_events("docker.proxy_started")
            yield DockerClient(event["socket"]), life
        assert list(folder.iterdir()) == []


def test_each_container_has_its_own_path_while_it_runs(place: Place) -> None:
    """No other container may use it; it works again when a stopped container is started."""
    with run_life(place) as (docker, life):
        one, two = docker.start(), docker.start()
        paths = [docker.environment(container)[URI] for container in (one, two)]
        assert len({*paths, life.environment[URI]}) == 3
        assert docker.status(one, paths[0]) == "200"
        assert docker.status(two, paths[1]) == "200"
        assert docker.status(two, paths[0]) == "403"
        docker("stop", "--time", "0", one)
        docker.wait_for_status(two, paths[0], "400")
        docker("start", one)
        docker.wait_for_status(one, paths[0], "200")
        docker("rm", "--force", one)
        docker.wait_for_status(two, paths[0], "400")
        docker("rm", "--force", two)


@pytest.mark.parametrize("network", ["host", "container"])
def test_a_container_without_an_address_of_its_own_has_a_path(place: Place, network: str) -> None:
    """It sends its requests from the task's own address, or from another container's."""
    with run_life(place) as (docker, _):
        one = docker.start()
        other = docker.start("--network", "host" if network == "host" else f"container:{one}")
        path = docker.environment(other)[URI]
        assert [docker.status(other, path) for _ in range(3)] == ["200"] * 3
        docker("rm", "--force", one, other)


def test_a_container_gets_the_proxy_s_socket_and_no_other(place: Place) -> None:
    """By whatever path it mounts the engine's: what it starts has its own path too."""
    with run_life(place) as (docker, life):
        mounted = "/var/run/docker.sock:/var/run/docker.sock"
        inner = ("docker", "run", "--rm", *USERLAND, EMPTY, "printenv", URI)
        output = docker("run", "--rm", *USERLAND, "--volume", mounted, EMPTY, *inner)
        assert output.startswith("/v2/credentials/")
        assert output != life.environment[URI]
