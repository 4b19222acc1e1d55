"""Run every AWS client in every kind of container, and collect the roles that they get."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.engines.engine import EMPTY, USERLAND
from tests.engines.far import AWS_PORT, S3_PORT
from tests.engines.roots import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from tests.engines.engine import Engine
    from tests.engines.places import Place

    Ask = Callable[[Mapping[str, str]], str]
    """Runs every client with these variables; returns their output."""

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
WITH_URI, WITH_NOTHING = VARIANTS = ("with the URI", "with nothing set")

CLIENTS = (
    "boto3",
    "aiobotocore",
    "AWS CLI 1",
    "AWS CLI 2",
    "JavaScript v3",
    "JavaScript v2",
    "rclone (Go)",
    "Ruby",
)
"""As in `everyone.py`."""

TIMEOUT = 240.0
"""Seconds for all clients in one container."""
CLIENTS_IMAGE = "clients"
"""Debian 13 and the AWS clients as an image, for builds: they cannot mount anything."""

_PROGRAMS = f"/host{REPOSITORY}/tests/engines"
_MOUNTED = ("--volume", f"{_PROGRAMS}:/programs:ro")
_ASK_CLIENTS = ("python3", "/programs/everyone.py")
_IMPORT = f"""
tar --create --directory /clients \
    --exclude 'usr/share/doc/*' --exclude 'usr/share/locale/*' --exclude 'usr/share/man/*' \
    --exclude usr/bin/containerd\\* --exclude usr/bin/docker\\* --exclude usr/bin/ctr \
    --exclude usr/libexec/docker --exclude usr/sbin/dockerd --exclude awscli/examples \
    bin sbin lib lib64 usr etc/ssl etc/alternatives opt/clients \
    --directory {_PROGRAMS} --transform 's,^everyone.py,programs/everyone.py,' everyone.py |
docker import - {CLIENTS_IMAGE}
"""


@dataclass(frozen=True)
class ClientResult:
    """The result of one client."""

    client: str
    role: str | None
    error: str | None
    seconds: float


def _make_ask(place: Place, network: str, sts: str, s3: str) -> Ask:
    def ask(env: Mapping[str, str]) -> str:
        everyone = (*_ASK_CLIENTS, sts, s3)
        options = {"network": network, "env": env, "options": _MOUNTED, "timeout": TIMEOUT}
        return place.engine.run(*everyone, **options)

    return ask


@contextmanager
def _bridge(place: Place) -> Iterator[Ask]:
    yield _make_ask(place, "bridge", place.task.aws, place.task.s3)


@contextmanager
def _host(place: Place) -> Iterator[Ask]:
    yield _make_ask(place, "host", place.task.aws, place.task.s3)


@contextmanager
def _user_network(place: Place) -> Iterator[Ask]:
    with create_network(place.engine) as name:
        yield _make_ask(place, name, place.task.aws, place.task.s3)


@contextmanager
def _internal(place: Place) -> Iterator[Ask]:
    """Run them where AWS cannot be reached, except at the task's own address."""
    with create_network(place.engine, "--internal") as name:
        template = "{{(index .IPAM.Config 0).Gateway}}"
        gateway = place.engine.docker("network", "inspect", "--format", template, name).strip()
        at = f"http://{gateway}"
        yield _make_ask(place, name, f"{at}:{AWS_PORT}", f"{at}:{S3_PORT}")


@contextmanager
def _nested(place: Place) -> Iterator[Ask]:
    """Run them in a container of an engine that is itself in a container."""
    with run_nested_engine(place.engine) as docker:

        def ask(env: Mapping[str, str]) -> str:
            variables = [f"--env={key}={value}" for key, value in env.items()]
            options = ("run", "--rm", *USERLAND, "--volume", "/programs:/programs:ro", *variables)
            return docker(*options, EMPTY, *_ASK_CLIENTS, place.task.aws, place.task.s3)

        yield ask


@contextmanager
def _classic(place: Place) -> Iterator[Ask]:
    yield _make_build(place, {"DOCKER_BUILDKIT": "0"})


@contextmanager
def _buildkit(place: Place) -> Iterator[Ask]:
    yield _make_build(place, {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"})


def _make_build(place: Place, builder: Mapping[str, str]) -> Ask:
    engine = place.engine
    if not engine.docker("images", "--quiet", CLIENTS_IMAGE):
        engine.run_command("sh", "-ec", _IMPORT, timeout=TIMEOUT)

    def ask(env: Mapping[str, str]) -> str:
        variables = [f"{key}={value}" for key, value in env.items()]
        command = " ".join(("env", *variables, *_ASK_CLIENTS, place.task.aws, place.task.s3))
        text = f"FROM {CLIENTS_IMAGE}\nRUN {command}\n".encode()
        return engine.docker("build", "--no-cache", "-", text=text, env=builder, timeout=TIMEOUT)

    return ask


CONTAINER_KINDS: dict[str, Callable[[Place], AbstractContextManager[Ask]]] = {
    "bridge": _bridge,
    "user network": _user_network,
    "internal network": _internal,
    "host network": _host,
    "docker in docker in docker": _nested,
    "RUN, classic builder": _classic,
    "RUN, BuildKit": _buildkit,
}


def ask_all(place: Place, where: str, uri: str) -> dict[str, dict[str, ClientResult]]:
    """Run every client in one kind of container, with the URI that a job has, and without.

    Returns the results of each client, for each of VARIANTS.
    """
    with CONTAINER_KINDS[where](place) as ask:
        output = {WITH_URI: ask({RELATIVE_URI: uri}), WITH_NOTHING: ask({})}
    return {variant: _parse(text) for variant, text in output.items()}


def _parse(output: str) -> dict[str, ClientResult]:
    results = [ClientResult(**json.loads(line)) for line in re.findall(r"FOUND (\{.*\})", output)]
    return {one.client: one for one in results}


@contextmanager
def create_network(engine: Engine, *options: str) -> Iterator[str]:
    """Make a network within the block; yield its name."""
    name = f"net-{secrets.token_hex(4)}"
    engine.docker("network", "create", *options, name)
    try:
        yield name
    finally:
        engine.docker("network", "rm", name)


# The options that an engine's container needs. Not --privileged: the older engine cannot give that
# where root itself lacks a capability. No control groups of its own: it could make none in them.
_ENGINE_OPTIONS = (
    *("--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", "--device-cgroup-rule=a *:* rwm"),
    *(f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")),
    *("--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup"),
)
_NESTED_SCRIPT = "mkdir -p /run /tmp /etc && exec dockerd --cgroup-parent {} >/run/dockerd.log 2>&1"


@contextmanager
def run_nested_engine(engine: Engine) -> Iterator[Callable[..., str]]:
    """Run an engine in a container within the block; yield what runs `docker ARGV` there.

    It is always the newer engine.
    """
    name = f"engine-{secrets.token_hex(4)}"
    volumes = ("--volume", "/clients:/clients:ro", "--volume", "/var/lib/docker", *_MOUNTED)
    options = ("--detach", "--name", name, *_ENGINE_OPTIONS, *USERLAND, *volumes)
    start = _NESTED_SCRIPT.format(f"{engine.cgroup}/nested")
    engine.docker("run", *options, EMPTY, "sh", "-ec", start)

    def docker(*argv: str) -> str:
        return engine.docker("exec", name, "docker", *argv, timeout=TIMEOUT)

    try:
        wait = "until docker version; do sleep 0.1; done >/dev/null 2>&1"
        engine.docker("exec", name, "timeout", "60", "sh", "-c", wait)
        empty = f"head -c 10240 /dev/zero | docker import - {EMPTY}"
        engine.docker("exec", name, "sh", "-c", empty)
        yield docker
    finally:
        engine.docker("rm", "--force", "--volumes", name)
