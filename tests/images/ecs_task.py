"""Plays a task definition as ECS does: its containers, on a real engine, from the JSON itself.

What an instance's agent makes of a definition: volumes, the network namespace that the containers
of an awsvpc task share, the order that dependsOn asks for, and the end, in the reverse order. What
a definition has that is not played here is refused.
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
from tests.images.containers import CLIENT_S, client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.engines.engine import Engine
    from tests.engines.tasks import Task

HEALTHY = 60.0
"""Seconds within which a container is healthy."""
UNPLAYED = {"essential", "logConfiguration", "restartPolicy", "dependsOn", "name"}
"""Of a container, what is not docker's to do."""


@dataclass(frozen=True)
class Network:
    """Where the containers of a task are."""

    name: str
    """As `docker run --network` wants it."""
    task: Task
    """What is around it."""


@dataclass
class Playing:
    """A task that runs."""

    engine: Engine
    mark: str
    containers: list[str] = field(default_factory=list)

    def container(self, name: str) -> str:
        """Return the name that docker has for one of its containers."""
        return f"{self.mark}-{name}"

    def ended(self, name: str, seconds: float) -> int:
        """Wait for the end of a container; return its exit code."""
        return int(self.engine.docker("wait", self.container(name), timeout=seconds))

    def log(self, name: str) -> str:
        """Return what a container has said."""
        return self.engine.docker("logs", self.container(name))


def events(log: str, name: str) -> list[dict[str, Any]]:
    """Return the agent's events of that name."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [event for event in lines if event["event"] == name]


@contextmanager
def networked(definition: Mapping[str, Any], engine: Engine, instance: Task) -> Iterator[Network]:
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
        with tasks.surrounded(Space(pid, f"/proc/{engine.pid}/root/proc")) as task:
            yield Network(f"container:{pause}", task)
    finally:
        engine.docker("rm", "--force", pause)


@contextmanager
def playing(
    definition: Mapping[str, Any],
    engine: Engine,
    network: Network,
    secret: Mapping[str, str],
    overrides: Mapping[str, str],
    *options: str,
) -> Iterator[Playing]:
    """Run the task for the block. Afterwards nothing of it is left.

    `secret` is what the execution role would read, by `valueFrom`; `overrides` are the launcher's,
    for the container `runner`; `options` are docker's own, for all of its containers.
    """
    found = Playing(engine, f"{definition['family']}-{secrets.token_hex(4)}")
    with ExitStack() as end:
        wanted = definition.get("volumes", [])
        volumes = {
            one["name"]: end.enter_context(_volume(one, engine, found.mark)) for one in wanted
        }
        end.callback(_stopped, found)
        for container in _in_order(definition["containerDefinitions"]):
            for other in container.get("dependsOn", []):
                assert other["condition"] == "HEALTHY"
                _healthy(engine, found.container(other["containerName"]))
            told = {**network.task.environment, **_environment(container, secret)}
            if container["name"] == "runner":
                told |= overrides
            name = found.container(container["name"])
            found.containers.append(name)
            engine.docker(
                *("run", "--detach", f"--name={name}", f"--network={network.name}", *options),
                *(f"--env={key}={value}" for key, value in told.items()),
                *arguments(container, volumes),
            )
        yield found


@contextmanager
def _volume(volume: Mapping[str, Any], engine: Engine, mark: str) -> Iterator[str]:
    """Give what docker mounts: a path of the instance, or a volume of the task's own."""
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


def _in_order(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort so that each comes after what it depends on."""
    return sorted(containers, key=lambda one: len(one.get("dependsOn", [])))


def _environment(container: Mapping[str, Any], secret: Mapping[str, str]) -> dict[str, str]:
    plain = {one["name"]: one["value"] for one in container.get("environment", [])}
    return plain | {one["name"]: secret[one["valueFrom"]] for one in container.get("secrets", [])}


def arguments(container: Mapping[str, Any], volumes: Mapping[str, str]) -> list[str]:
    """Return what `docker run` is told of one container, its image and command included."""
    argv: list[str] = []
    for key, value in container.items():
        if key in _OPTIONS:
            argv += _OPTIONS[key](value)
        else:
            assert key in UNPLAYED | _BELOW, f"{key} is not played"
    for mount in container.get("mountPoints", []):
        end = ":ro" if mount["readOnly"] else ""
        argv.append(f"--volume={volumes[mount['sourceVolume']]}:{mount['containerPath']}{end}")
    return [*argv, container["image"], *container.get("command", [])]


_BELOW = {"mountPoints", "command", "image", "environment", "secrets"}
"""What is played where all the options are known."""


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


def _healthy(engine: Engine, name: str) -> None:
    """Wait until a container is healthy."""
    what = ("--filter=event=health_status", "--filter=event=die", f"--filter=container={name}")
    until = f"--until={int(time.time() + HEALTHY)}"
    argv = client(engine, "events", "--since=0", until, *what, "--format={{.Status}}")
    with subprocess.Popen(argv, env=CLIENT_S, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout
        found = events.stdout.readline().strip()
        events.kill()
    assert found == "health_status: healthy", f"{name}: {found}: {engine.docker('logs', name)}"


def _stopped(playing: Playing) -> None:
    """End all in the reverse order, as ECS does; and remove them."""
    for name in reversed(playing.containers):
        playing.engine.docker("rm", "--force", "--volumes", name)
