"""Check requests in strict mode (SIDECAR_DOCKER_STRICT): refuse what makes a job root on the host.

This is a list of known ways, not a complete boundary: a job may still mount a folder of the
engine's machine, and become root by writing into the right one.

Each check returns the reason to refuse the request, or None.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from sidecar.docker.binds import find_binds, find_volume_options
from sidecar.docker.json_documents import JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.docker.binds import Sockets
    from sidecar.docker.container_create import ContainerCreate
    from sidecar.docker.heads import RequestHead

REFUSED_CAPABILITIES = frozenset(
    {"ALL", "BPF", "DAC_READ_SEARCH", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO"}
)
"""Capabilities by which root leaves a container."""
ALLOWED_DEVICES = frozenset({"/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/null", "/dev/zero"})
"""Devices of the machine that give no access to it."""
_ALLOWED_VOLUME_TYPES = frozenset({"tmpfs", "nfs", "nfs4", "cifs"})
"""Volume types of the local driver that hold nothing of the machine."""

EXEC_PATH = re.compile(r"(/libpod)?/containers/.+/exec")
VOLUME_PATH = re.compile(r"(/libpod)?/volumes/create")
_HIDDEN_CREATES = re.compile(
    r"/plugins/.*|/swarm/(init|join|update)|/services/(create|.+/update)"
    r"|/libpod/(play/kube|kube/play|pods/create)"
)
"""Requests by which the engine makes containers itself, so that no create request is seen."""
_NAMESPACES = {"PidMode": "pid", "NetworkMode": "network", "IpcMode": "ipc", "UsernsMode": "user"}
_LIBPOD_NAMESPACES = {"pidns": "pid", "netns": "network", "ipcns": "ipc", "userns": "user"}


def check_request(request: RequestHead) -> str | None:
    """Check a request by its path and query alone."""
    if _HIDDEN_CREATES.fullmatch(request.path):
        return f"{request.path} makes containers that the agent cannot check"
    if request.path in ("/build", "/libpod/build"):
        modes = parse_qs(request.query).get("networkmode", [])
        if "host" in modes:
            return "a build in the host's network"
    return None


def check_exec(body: JsonObject) -> str | None:
    """Check a command in an existing container."""
    return "a privileged command" if body.get_field("Privileged", bool) else None


def check_volume(body: JsonObject, sockets: Sockets) -> str | None:
    """Check a new volume."""
    options = (
        body.get_field("DriverOpts", dict) or body.get_field("Options", dict) or JsonObject([])
    )
    return _check_options(options, sockets)


def check_create(create: ContainerCreate, sockets: Sockets) -> str | None:
    """Check a new container; the first problem found is returned."""
    problems = (
        _check_libpod(create.fields) if create.libpod else _check_docker(create.fields, sockets)
    )
    return next(problems, None) or _check_binds(create.fields, sockets)


def _check_docker(body: JsonObject, sockets: Sockets) -> Iterator[str]:
    config: JsonObject = body.get_field("HostConfig", dict) or JsonObject([])
    if config.get_field("Privileged", bool):
        yield "a privileged container"
    for name, namespace in _NAMESPACES.items():
        if config.get_field(name, str) == "host":
            yield f"the host's {namespace} namespace"
    yield from _check_capabilities(config.get_field("CapAdd", list))
    yield from _check_devices(config.get_field("Devices", list), "PathOnHost")
    if config.get_field("DeviceCgroupRules", list):
        yield "rules for devices"
    if _is_set(config, "MaskedPaths") or _is_set(config, "ReadonlyPaths"):
        yield "the kernel's files without their masks"
    for options in find_volume_options(config):
        if (problem := _check_options(options, sockets)) is not None:
            yield problem


def _check_libpod(body: JsonObject) -> Iterator[str]:
    if body.get_field("privileged", bool):
        yield "a privileged container"
    for name, namespace in _LIBPOD_NAMESPACES.items():
        if (body.get_field(name, dict) or JsonObject([])).get_field("nsmode", str) == "host":
            yield f"the host's {namespace} namespace"
    yield from _check_capabilities(body.get_field("cap_add", list))
    yield from _check_devices(body.get_field("devices", list), "path")
    if body.get_field("device_cgroup_rule", list):
        yield "rules for devices"
    if body.get_field("unmask", list):
        yield "the kernel's files without their masks"
    if body.get_field("rootfs", str):
        yield "a folder of the machine as root"


def _is_set(config: JsonObject, name: str) -> bool:
    return config.get_field(name, list) is not None


def _check_capabilities(added: list[Any] | None) -> Iterator[str]:
    for name in added or ():
        plain = str(name).upper().removeprefix("CAP_")
        if plain in REFUSED_CAPABILITIES:
            yield f"the capability {plain}"


def _check_devices(devices: list[Any] | None, key: str) -> Iterator[str]:
    for device in devices or ():
        path = device.get_field(key, str) if isinstance(device, JsonObject) else None
        if path not in ALLOWED_DEVICES:
            yield f"the device {path}"


def _check_binds(body: JsonObject, sockets: Sockets) -> str | None:
    for bind in find_binds(body):
        if sockets.any_in_folder(bind.source):
            return f"the folder {bind.source}, which holds a docker socket"
    return None


def _check_options(options: JsonObject, sockets: Sockets) -> str | None:
    """Check a mount of the local driver: a bind of a folder is allowed, as in a container."""
    kind = options.get_field("type", str) or "none"
    words = (options.get_field("o", str) or "").split(",")
    device = options.get_field("device", str) or ""
    if kind in _ALLOWED_VOLUME_TYPES or not options:
        return None
    if kind != "none" or not {"bind", "rbind"} & set(words):
        return f"a volume of type {kind}"
    if sockets.any_in_folder(device) or sockets.find_replacement(device) is not None:
        return f"a volume of {device}, which holds a docker socket"
    return None
