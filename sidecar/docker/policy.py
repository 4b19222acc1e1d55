"""What strict mode refuses (SIDECAR_DOCKER_STRICT): what makes a job root on the daemon's machine.

It is a list of known ways, not a wall: a folder of that machine may still be mounted, and whoever
can write into the right one is root there all the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from sidecar.docker.binds import binds, volumes
from sidecar.docker.json_documents import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.docker.binds import Sockets
    from sidecar.docker.container_create import Create
    from sidecar.docker.heads import Request

CAPABILITIES = frozenset({"ALL", "BPF", "DAC_READ_SEARCH", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO"})
"""By which root leaves a container."""
DEVICES = frozenset({"/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/null", "/dev/zero"})
"""Devices of the machine that give nothing away."""
_VOLUMES = frozenset({"tmpfs", "nfs", "nfs4", "cifs"})
"""Types of the local driver's volumes that hold nothing of the machine."""

EXEC = re.compile(r"(/libpod)?/containers/.+/exec")
VOLUME = re.compile(r"(/libpod)?/volumes/create")
_UNSEEN = re.compile(
    r"/plugins/.*|/swarm/(init|join|update)|/services/(create|.+/update)"
    r"|/libpod/(play/kube|kube/play|pods/create)"
)
"""Containers and more that the daemon makes by itself, so that no create is seen."""
_NAMESPACES = {"PidMode": "pid", "NetworkMode": "network", "IpcMode": "ipc", "UsernsMode": "user"}
_LIBPOD_NAMESPACES = {"pidns": "pid", "netns": "network", "ipcns": "ipc", "userns": "user"}


def of_request(request: Request) -> str | None:
    """Return what is wrong with a request of whose body nothing is known; None: nothing."""
    if _UNSEEN.fullmatch(request.path):
        return f"{request.path} makes containers that nobody can look at"
    if request.path in ("/build", "/libpod/build"):
        modes = parse_qs(request.query).get("networkmode", [])
        if "host" in modes:
            return "a build in the host's network"
    return None


def of_exec(body: Fields) -> str | None:
    """Return what is wrong with a command in a container that is there."""
    return "a privileged command" if body.field("Privileged", bool) else None


def of_volume(body: Fields, sockets: Sockets) -> str | None:
    """Return what is wrong with a volume."""
    options = body.field("DriverOpts", dict) or body.field("Options", dict) or Fields([])
    return _of_options(options, sockets)


def of_create(create: Create, sockets: Sockets) -> str | None:
    """Return the first thing that is wrong with a container; None: nothing is."""
    found = _of_libpod(create.fields) if create.libpod else _of_docker(create.fields, sockets)
    return next(found, None) or _of_binds(create.fields, sockets)


def _of_docker(body: Fields, sockets: Sockets) -> Iterator[str]:
    config: Fields = body.field("HostConfig", dict) or Fields([])
    if config.field("Privileged", bool):
        yield "a privileged container"
    for name, told in _NAMESPACES.items():
        if config.field(name, str) == "host":
            yield f"the host's {told} namespace"
    yield from _of_capabilities(config.field("CapAdd", list))
    yield from _of_devices(config.field("Devices", list), "PathOnHost")
    if config.field("DeviceCgroupRules", list):
        yield "rules for devices"
    if _given(config, "MaskedPaths") or _given(config, "ReadonlyPaths"):
        yield "the kernel's files without their masks"
    for options in volumes(config):
        if (wrong := _of_options(options, sockets)) is not None:
            yield wrong


def _of_libpod(body: Fields) -> Iterator[str]:
    if body.field("privileged", bool):
        yield "a privileged container"
    for name, told in _LIBPOD_NAMESPACES.items():
        if (body.field(name, dict) or Fields([])).field("nsmode", str) == "host":
            yield f"the host's {told} namespace"
    yield from _of_capabilities(body.field("cap_add", list))
    yield from _of_devices(body.field("devices", list), "path")
    if body.field("device_cgroup_rule", list):
        yield "rules for devices"
    if body.field("unmask", list):
        yield "the kernel's files without their masks"
    if body.field("rootfs", str):
        yield "a folder of the machine as root"


def _given(config: Fields, name: str) -> bool:
    return config.field(name, list) is not None


def _of_capabilities(added: list[Any] | None) -> Iterator[str]:
    for name in added or ():
        plain = str(name).upper().removeprefix("CAP_")
        if plain in CAPABILITIES:
            yield f"the capability {plain}"


def _of_devices(devices: list[Any] | None, key: str) -> Iterator[str]:
    for device in devices or ():
        path = device.field(key, str) if isinstance(device, Fields) else None
        if path not in DEVICES:
            yield f"the device {path}"


def _of_binds(body: Fields, sockets: Sockets) -> str | None:
    for bind in binds(body):
        if sockets.above(bind.source):
            return f"the folder {bind.source}, which holds a docker socket"
    return None


def _of_options(options: Fields, sockets: Sockets) -> str | None:
    """Judge the local driver's mount: a bind of a folder is as good as any, others are not."""
    kind = options.field("type", str) or "none"
    words = (options.field("o", str) or "").split(",")
    device = options.field("device", str) or ""
    if kind in _VOLUMES or not options:
        return None
    if kind != "none" or not {"bind", "rbind"} & set(words):
        return f"a volume of type {kind}"
    if sockets.above(device) or sockets.turned(device) is not None:
        return f"a volume of {device}, which holds a docker socket"
    return None
