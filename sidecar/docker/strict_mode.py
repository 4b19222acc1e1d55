"""Check requests in strict mode (SIDECAR_DOCKER_STRICT): let only those pass that are known.

What a request may be is in routes, a container's fields in strict_create, folders in bind_sources,
and the flags of mounts in mount_options. Podman's own form of a create request (libpod) is checked
for known ways only.

Each check returns the reason to refuse the request, or None.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sidecar.docker import mount_options, routes, strict_create
from sidecar.docker.binds import find_binds
from sidecar.docker.json_documents import JsonObject, parse_object, read_names
from sidecar.docker.routes import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.docker.bind_sources import BindSources
    from sidecar.docker.binds import Sockets
    from sidecar.docker.container_create import ContainerCreate
    from sidecar.docker.heads import RequestHead

VOLUME_PATH = re.compile(r"(/libpod)?/volumes/create")
START_PATH = re.compile(r"(/libpod)?/containers/(.+)/(start|restart)")
"""Requests that make the engine mount a container's folders."""
_EXEC_PATH = re.compile(r"(/libpod)?/containers/.+/exec")
_UPDATE_PATH = re.compile(r"/containers/.+/update")
_NETWORK_PATH = re.compile(r"(/libpod)?/networks/create")
_BUILD_PATHS = ("/build", "/libpod/build")
_STREAMS = ("/session", "/grpc")
_BUILD_FIELDS = read_names(
    """
    buildargs buildid cachefrom cgroupparent cpuperiod cpuquota cpusetcpus cpusetmems cpushares
    dockerfile extrahosts forcerm labels memory memswap networkmode nocache outputs platform pull q
    remote rm session shmsize squash t target ulimits version
    """
)
_START_FIELDS = frozenset({"detachkeys", "t", "signal", "timeout"})
_NETWORK_DRIVERS = frozenset({"", "bridge", "default", "null", "none", "overlay"})
"""Others join the machine's own network."""
_NETWORK_OPTIONS = frozenset(
    f"com.docker.network.{name}"
    for name in (
        *("bridge.enable_icc", "bridge.enable_ip_masquerade", "bridge.host_binding_ipv4"),
        *("bridge.inhibit_ipv4", "container_iface_prefix", "driver.mtu", "enable_ipv6"),
    )
)
"""Others may name an interface: with `bridge.name`, a bridge that the machine has already."""
_LIBPOD_NAMESPACES = {"pidns": "pid", "netns": "network", "ipcns": "ipc", "userns": "user"}


def has_judged_body(request: RequestHead) -> bool:
    """Return whether the body of a request must be checked."""
    route = routes.find_route(request.method, request.path)
    return (
        route is not None
        and route.verdict is Verdict.JUDGED
        and request.path not in _BUILD_PATHS  # by their query; the body is the files to build
    )


def check_request(request: RequestHead) -> str | None:
    """Check a request by its head alone."""
    route = routes.find_route(request.method, request.path)
    if route is None:
        return f"{request.path:.128} is no known request"
    if route.verdict is Verdict.REFUSED:
        return f"{request.path:.128}: {route.reason}"
    upgrades = b",".join(request.values(b"upgrade")).lower()
    if b"h2c" in upgrades and request.path not in _STREAMS:
        return "HTTP/2 by an upgrade: its requests cannot be checked"
    if (problem := _check_reading(request)) is not None:
        return problem
    if request.path in _BUILD_PATHS:
        return _check_build(request)
    if START_PATH.fullmatch(request.path):
        names = {name.lower() for name, _ in _read_query(request)}
        if not names <= _START_FIELDS:
            return "a start from a checkpoint"
    return None


def _check_reading(request: RequestHead) -> str | None:
    """Check that the engine reads the fields of the query, and as they are read here."""
    if b"form" in b",".join(request.values(b"content-type")).lower():
        return "a form, whose fields the engine would read before those of the query"
    if ";" in request.query:
        return "a query with ; which engines read differently"
    return None


def _check_build(request: RequestHead) -> str | None:
    for name, value in _read_query(request):
        if name.lower() not in _BUILD_FIELDS:
            return f"a build with {name!a:.64}"
        if name.lower() == "networkmode" and value.lower() == "host":
            return "a build in the host's network"
        if name.lower() == "networkmode" and ":" in value:
            return f"a build in the network {value!a:.64}, which may be another container's"
    return None


def _read_query(request: RequestHead) -> list[tuple[str, str]]:
    return parse_qsl(request.query, keep_blank_values=True, encoding="latin-1")


def check_body(
    request: RequestHead, body: bytes, sources: BindSources, sockets: Sockets
) -> str | None:
    """Check the body of a judged request that creates no container. Raises UnreadableBody."""
    path = request.path
    if START_PATH.fullmatch(path):
        return check_start(body)
    if _EXEC_PATH.fullmatch(path):
        return check_exec(parse_object(body))
    if VOLUME_PATH.fullmatch(path):
        return check_volume(_parse(body), sources, sockets)
    if _UPDATE_PATH.fullmatch(path):
        return strict_create.check_update(_parse(body))
    if _NETWORK_PATH.fullmatch(path):
        return check_network(_parse(body))
    return None


def _parse(body: bytes) -> JsonObject:
    return parse_object(body) if body.strip() else JsonObject([])


def check_start(body: bytes) -> str | None:
    """Check the body of a start: before API 1.24 it gave the container another HostConfig."""
    return None if body.strip() in (b"", b"null", b"{}") else "a start that changes the container"


def check_exec(body: JsonObject) -> str | None:
    """Check a command in an existing container."""
    body.fold_names()
    key = body.find_key("Privileged")
    is_set = key is not None and not strict_create.is_unset(body[key])
    return "a privileged command" if is_set else None


def check_volume(body: JsonObject, sources: BindSources, sockets: Sockets) -> str | None:
    """Check a new volume."""
    body.fold_names()
    if (problem := mount_options.check_driver(body.get_field("Driver", str))) is not None:
        return problem
    for name in ("DriverOpts", "Options"):
        options = body.get_field(name, dict) or JsonObject([])
        problem = mount_options.check_volume_options(options, sources, sockets)
        if problem is not None:
            return problem
    return None


def check_network(body: JsonObject) -> str | None:
    """Check a new network."""
    driver = body.get_field("Driver", str) or ""
    if driver not in _NETWORK_DRIVERS:
        return f"a network of the driver {driver:.64}"
    if interface := body.get_field("network_interface", str):
        return f"a network at the interface {interface:.64}"
    options: JsonObject = body.get_field("Options", dict) or JsonObject([])
    unknown = next((name for name in options if name not in _NETWORK_OPTIONS), None)
    return None if unknown is None else f"a network with the option {unknown!a:.64}"


def check_create(create: ContainerCreate, sources: BindSources, sockets: Sockets) -> str | None:
    """Check a new container; the first problem found is returned."""
    problems = (
        _check_libpod(create.fields)
        if create.libpod
        else strict_create.check_docker(create.fields, sources, sockets)
    )
    return next(problems, None) or check_sources(create.fields, sources, sockets)


def check_sources(body: JsonObject, sources: BindSources, sockets: Sockets) -> str | None:
    """Check the folders that a container mounts."""
    for bind in find_binds(body, devices=False):
        problem = sources.check(bind.source, sockets, read_only=bind.read_only)
        if problem is not None:
            return problem
    return None


def _check_libpod(body: JsonObject) -> Iterator[str]:
    if body.get_field("privileged", bool):
        yield "a privileged container"
    for name, namespace in _LIBPOD_NAMESPACES.items():
        mode = (body.get_field(name, dict) or JsonObject([])).get_field("nsmode", str)
        if mode in ("host", "path"):
            yield f"the host's {namespace} namespace"
    yield from strict_create.check_capabilities(_read_list(body, "cap_add"))
    yield from strict_create.check_devices(_read_list(body, "devices"), "path")
    if body.get_field("device_cgroup_rule", list):
        yield "rules for devices"
    if body.get_field("unmask", list):
        yield "the kernel's files without their masks"
    if body.get_field("rootfs", str) or body.get_field("overlay_volumes", list):
        yield "a folder of the machine as root"
    yield from _check_libpod_mounts(body)


def _check_libpod_mounts(body: JsonObject) -> Iterator[str]:
    for mount in _read_list(body, "mounts") or ():
        if isinstance(mount, JsonObject):
            yield from mount_options.check_flags(mount.get_field("options", list) or ())


def _read_list(body: JsonObject, name: str) -> list[Any] | None:
    value: list[Any] | None = body.get_field(name, list)
    return value
