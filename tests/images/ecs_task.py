"""Run a task definition as ECS does: its containers, on a real engine, from the JSON itself.

It does what an instance's agent does: volumes, the network namespace that the containers of an
awsvpc task share, the order that dependsOn asks for, and the end, in the reverse order. A key that
is not supported here fails an assertion.
"""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.engines import tasks
from tests.engines.spaces import Space
from tests.images.building import RUNNER
from tests.images.containers import CLIENT_ENV, client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.engines.engine import Engine
    from tests.engines.tasks import Task

HEALTHY = 60.0
"""Seconds within which a container is healthy."""
IGNORED = {"essential", "logConfiguration", "restartPolicy", "dependsOn", "name"}
"""The keys of a container that docker needs not know."""


@dataclass(frozen=True)
class Network:
    """The network of a task's containers."""

    name: str
    """As `docker run --network` wants it."""
    task: Task
    """The task's surrounding network (tests.engines.tasks)."""


@dataclass
class RunningTask:
    """A task that runs."""

    engine: Engine
    mark: str
    containers: list[str] = field(default_factory=list)

    def container(self, name: str) -> str:
        """Return the name that docker has for one of its containers."""
        return f"{self.mark}-{name}"

    def wait_for_end(self, name: str, seconds: float) -> int:
        """Wait for the end of a container; returns its exit code."""
        return int(self.engine.docker("wait", self.container(name), timeout=seconds))

    def log(self, name: str) -> str:
        """Return what a container has printed."""
        return self.engine.docker("logs", self.container(name))


def find_events(log: str, name: str) -> list[dict[str, Any]]:
    """Return the agent's events of that name."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [event for event in lines if event["event"] == name]


@contextmanager
def make_network(
    definition: Mapping[str, Any], engine: Engine, instance: Task
) -> Iterator[Network]:
    """Make the task's network for the block, on an instance where the engine runs."""
    if definition["networkMode"] == "bridge":
        yield Network("bridge", instance)
        return
    assert definition["networkMode"] == "awsvpc"
    # As ECS does it: a container that only holds the network namespace of all the others.
    pause = f"pause-{secrets.token_hex(4)}"
    hold = ("run", "--detach", "--network=none", f"--name={pause}", "--entrypoint=sleep")
    engine.docker(*hold, RUNNER, "3600")
    try:
        pid = int(engine.docker("inspect", "--format={{.State.Pid}}", pause))
        with tasks.add_far_side(Space(pid, f"/proc/{engine.pid}/root/proc")) as task:
            yield Network(f"container:{pause}", task)
    finally:
        engine.docker("rm", "--force", pause)


@contextmanager
def run_task(
    definition: Mapping[str, Any],
    engine: Engine,
    network: Network,
    secret: Mapping[str, str],
    overrides: Mapping[str, str],
    *options: str,
) -> Iterator[RunningTask]:
    """Run the task for the block. Afterwards nothing of it is left.

    `secret` holds what the execution role would read, by `valueFrom`. `overrides` are the
    launcher's, for the container `runner`. `options` are docker's own, for all containers.
    """
    task = RunningTask(engine, f"{definition['family']}-{secrets.token_hex(4)}")
    with ExitStack() as end:
        wanted = definition.get("volumes", [])
        volumes = {
            one["name"]: end.enter_context(_make_volume(one, engine, task.mark)) for one in wanted
        }
        end.callback(_remove_containers, task)
        for container in _sort_by_dependency(definition["containerDefinitions"]):
            for other in container.get("dependsOn", []):
                assert other["condition"] == "HEALTHY"
                _wait_until_healthy(engine, task.container(other["containerName"]))
            variables = {**network.task.environment, **_make_environment(container, secret)}
            if container["name"] == "runner":
                variables |= overrides
            name = task.container(container["name"])
            task.containers.append(name)
            engine.docker(
                *("run", "--detach", f"--name={name}", f"--network={network.name}", *options),
                *(f"--env={key}={value}" for key, value in variables.items()),
                *make_arguments(container, volumes),
            )
        yield task


@contextmanager
def _make_volume(volume: Mapping[str, Any], engine: Engine, mark: str) -> Iterator[str]:
    """Give what docker mounts: a path of the instance, or a volume that is made for the task."""
    if "host" in volume:
        yield volume["host"]["sourcePath"]
        return
    assert volume["dockerVolumeConfiguration"] == {"scope": "task", "driver": "local"}
    name = f"{mark}-{volume['name']}"
    engine.docker("volume", "create", name)
    try:
        yield name
    finally:
        engine.docker("volume", "rm", "--force", name)


def _sort_by_dependency(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort so that each comes after what it depends on."""
    return sorted(containers, key=lambda one: len(one.get("dependsOn", [])))


def _make_environment(container: Mapping[str, Any], secret: Mapping[str, str]) -> dict[str, str]:
    plain = {one["name"]: one["value"] for one in container.get("environment", [])}
    return plain | {one["name"]: secret[one["valueFrom"]] for one in container.get("secrets", [])}


def make_arguments(container: Mapping[str, Any], volumes: Mapping[str, str]) -> list[str]:
    """Return the arguments of `docker run` for one container, with its image and command."""
    argv: list[str] = []
    for key, value in container.items():
        if key in _OPTIONS:
            argv += _OPTIONS[key](value)
        else:
            assert key in IGNORED | _HANDLED, f"{key} is not supported"
    for mount in container.get("mountPoints", []):
        end = ":ro" if mount["readOnly"] else ""
        argv.append(f"--volume={volumes[mount['sourceVolume']]}:{mount['containerPath']}{end}")
    return [*argv, container["image"], *container.get("command", [])]


_HANDLED = {"mountPoints", "command", "image", "environment", "secrets"}
"""The keys that are handled beside the options."""


def _linux(parameters: Mapping[str, Any]) -> list[str]:
    assert set(parameters) == {"capabilities"}
    return [f"--cap-add={name}" for name in parameters["capabilities"]["add"]]


def _health(check: Mapping[str, Any]) -> list[str]:
    kind, *words = check["command"]
    command = shlex.join(words) if kind == "CMD" else words[0]
    return [
        f"--health-cmd={command}",
        f"--health-interval={check['interval']}s",
        f"--health-timeout={check['timeout']}s",
        f"--health-retries={check['retries']}",
        f"--health-start-period={check['startPeriod']}s",
    ]


_OPTIONS = {
    "privileged": lambda value: ["--privileged"] if value else [],
    "memoryReservation": lambda value: [f"--memory-reservation={value}m"],
    "stopTimeout": lambda value: [f"--stop-timeout={value}"],
    "linuxParameters": _linux,
    "healthCheck": _health,
}


def _wait_until_healthy(engine: Engine, name: str) -> None:
    """Wait until a container is healthy."""
    what = ("--filter=event=health_status", "--filter=event=die", f"--filter=container={name}")
    until = f"--until={int(time.time() + HEALTHY)}"
    argv = client(engine, "events", "--since=0", until, *what, "--format={{.Status}}")
    with subprocess.Popen(argv, env=CLIENT_ENV, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout
        found = events.stdout.readline().strip()
        events.kill()
    assert found == "health_status: healthy", f"{name}: {found}: {engine.docker('logs', name)}"


def _remove_containers(task: RunningTask) -> None:
    """End and remove all containers in the reverse order, as ECS does."""
    for name in reversed(task.containers):
        task.engine.docker("rm", "--force", "--volumes", name)
