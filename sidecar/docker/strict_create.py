"""Check in strict mode the body of a request that creates a container, in docker's form.

Every field of the body and of its HostConfig has a rule. A field without one is refused if it has
a value: the engine may read it although this program does not know it. So is a HostConfig's field
outside of it, where docker 20.10 reads it too and no client writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.docker import mount_options
from sidecar.docker.binds import find_binds
from sidecar.docker.json_documents import JsonObject, read_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sidecar.docker.bind_sources import BindSources
    from sidecar.docker.binds import Sockets

ALLOWED_CAPABILITIES = read_names(
    """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE MKNOD
    NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT
    SYS_NICE SYS_PTRACE SYS_RESOURCE WAKE_ALARM
    """
)
"""Capabilities that count in the container's own namespaces, or only for its own processes."""
ALLOWED_DEVICES = frozenset({"/dev/fuse", "/dev/kvm", "/dev/net/tun", "/dev/null", "/dev/zero"})
"""Devices of the machine that give no access to it."""

CONTAINER_FIELDS = read_names(
    """
    hostname domainname user attachstdin attachstdout attachstderr exposedports publishservice tty
    openstdin stdinonce env cmd healthcheck argsescaped image volumes workingdir entrypoint
    networkdisabled macaddress onbuild labels stopsignal stoptimeout shell cpuset hostconfig
    networkingconfig
    """
)
"""The fields of the body itself, as keys are folded."""
FREE_FIELDS = read_names(
    """
    containeridfile portbindings autoremove consolesize capdrop dns dnsoptions dnssearch
    extrahosts groupadd links oomscoreadj publishallports readonlyrootfs storageopt shmsize sysctls
    isolation cpushares memory nanocpus cgroupparent blkioweight blkioweightdevice
    blkiodevicereadbps blkiodevicewritebps blkiodevicereadiops blkiodevicewriteiops cpuperiod
    cpuquota cpurealtimeperiod cpurealtimeruntime cpusetcpus cpusetmems kernelmemory kernelmemorytcp
    memoryreservation memoryswap memoryswappiness oomkilldisable pidslimit ulimits cpucount
    cpupercent iomaximumiops iomaximumbandwidth init diskquota volumesfrom
    """
)
"""Fields of a HostConfig that give no rights on the machine: limits, names, networks."""
_LOG_DRIVERS = frozenset({"", "none", "json-file", "local", "journald"})
"""Others let the daemon, as root, connect to any socket, read a file, or use its own role."""
_SECURITY_OPTIONS = frozenset(
    {
        *("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"),
        *("no-new-privileges:false", "no-new-privileges=false"),
        *("apparmor=docker-default", "seccomp=builtin"),
    }
)


def check_docker(body: JsonObject, sources: BindSources, sockets: Sockets) -> Iterator[str]:
    """Yield the reasons to refuse a create request."""
    for name, value in body.fold_names():
        if name in CONTAINER_FIELDS:
            continue
        if not is_unset(value):
            yield _describe_unknown(name, "HostConfig's field {} outside of it")
        elif (rule := RULES.get(name)) is not None:  # an empty value may mean something, too
            yield from rule(value)
    networking = body.get_field("NetworkingConfig", dict) or JsonObject([])
    if "host" in (networking.get_field("EndpointsConfig", dict) or ()):
        yield "the host's network namespace"
    config: JsonObject = body.get_field("HostConfig", dict) or JsonObject([])
    yield from _check_fields(config)
    yield from _check_mounts(config, sources, sockets)
    if is_restarted(config) and any(_find_sources(config, sockets)):
        yield "a restart policy beside a bind, which the engine would mount again, unseen"


def _check_fields(config: JsonObject) -> Iterator[str]:
    for name, value in config.fold_names():
        if (rule := RULES.get(name)) is not None:
            yield from rule(value)
        elif name not in FREE_FIELDS | MOUNT_FIELDS and not is_unset(value):
            yield _describe_unknown(name, "the unknown field {} of HostConfig")


def is_restarted(config: JsonObject) -> bool:
    """Return whether the engine starts a container again by itself."""
    policy = config.get_field("RestartPolicy", dict) or JsonObject([])
    return (policy.get_field("Name", str) or "no") != "no"


MOUNT_FIELDS = frozenset({"binds", "mounts", "tmpfs", "volumedriver", "restartpolicy"})
"""Fields that are judged together."""


def is_unset(value: Any) -> bool:
    """Return whether the engine takes a value for none."""
    return (
        value is None or value in (False, "", 0) or (isinstance(value, (list, dict)) and not value)
    )


def _check_mounts(config: JsonObject, sources: BindSources, sockets: Sockets) -> Iterator[str]:
    for text in config.get_field("Binds", list) or ():
        if isinstance(text, str):
            yield from mount_options.check_flags(text.split(":")[2:])
    for mount in config.get_field("Mounts", list) or ():
        if isinstance(mount, JsonObject):
            yield from mount_options.check_mount(mount, sources, sockets)
    yield from mount_options.check_tmpfs((config.get_field("Tmpfs", dict) or {}).values())
    if (problem := mount_options.check_driver(config.get_field("VolumeDriver", str))) is not None:
        yield problem


def _find_sources(config: JsonObject, sockets: Sockets) -> Iterator[str]:
    inner = JsonObject([("HostConfig", config)])
    sources = (bind.source for bind in find_binds(inner, devices=False))
    return (source for source in sources if not sockets.is_known(source))


def check_update(body: JsonObject) -> str | None:
    """Check new limits of a container."""
    if is_restarted(body):
        return "a restart policy for a container that was made without"
    for name, value in body.fold_names():
        if name not in FREE_FIELDS | {"restartpolicy"} and not is_unset(value):
            return _describe_unknown(name, "an update of {}")
    return None


def _describe_unknown(name: str, text: str) -> str:
    return text.format(ascii(name)[1:-1][:64])


# ---- the rules of HostConfig's fields ----------------------------------------------------------


def _check_privileged(value: Any) -> Iterator[str]:
    if not is_unset(value):
        yield "a privileged container"


def _make_namespace_rule(namespace: str, *allowed: str) -> Callable[[Any], Iterator[str]]:
    def check(value: Any) -> Iterator[str]:
        if is_unset(value) or value in allowed:
            return
        if isinstance(value, str) and value.startswith("container:"):
            return
        if value == "host":
            yield f"the host's {namespace} namespace"
        elif namespace != "network" or not isinstance(value, str) or value.startswith("ns:"):
            yield f"the {namespace} namespace {value!a:.64}"

    return check


def _list(value: Any) -> Sequence[Any]:
    """Return the entries of a list; a value of another kind counts as one, which no rule allows."""
    return value or () if isinstance(value, list | None) else (value,)


def check_capabilities(added: Any) -> Iterator[str]:
    """Check added capabilities."""
    for name in _list(added):
        plain = str(name).upper().removeprefix("CAP_")
        if plain not in ALLOWED_CAPABILITIES:
            yield f"the capability {plain:.64}"


def check_devices(devices: Any, key: str = "PathOnHost") -> Iterator[str]:
    """Check devices of the machine."""
    for device in _list(devices):
        path = device.get_field(key, str) if isinstance(device, JsonObject) else None
        if path not in ALLOWED_DEVICES:
            yield f"the device {path}"


def _check_device_rules(value: Any) -> Iterator[str]:
    if not is_unset(value):
        yield "rules for devices"


def _check_masks(value: Any) -> Iterator[str]:
    if value is not None:  # an empty list means that nothing is masked
        yield "the kernel's files without their masks"


def _check_device_requests(value: Any) -> Iterator[str]:
    for one in _list(value):
        driver = one.get_field("Driver", str) if isinstance(one, JsonObject) else "?"
        if driver not in (None, "", "nvidia"):
            yield f"devices of the driver {driver:.64}"


def _check_security(value: Any) -> Iterator[str]:
    for option in _list(value):
        if not isinstance(option, str) or option not in _SECURITY_OPTIONS:
            yield f"the security option {option!a:.64}"


def _check_log(value: Any) -> Iterator[str]:
    driver = value.get_field("Type", str) if isinstance(value, JsonObject) else None
    if (driver or "") not in _LOG_DRIVERS:
        yield f"the log driver {driver:.64}"


def _check_runtime(value: Any) -> Iterator[str]:
    if isinstance(value, str) and "/" in value:
        yield f"the runtime {value:.64}"


def _check_cgroup(value: Any) -> Iterator[str]:
    if not is_unset(value):
        yield "another container's cgroup"


RULES: Mapping[str, Callable[[Any], Iterator[str]]] = {
    "privileged": _check_privileged,
    "pidmode": _make_namespace_rule("pid", "private"),
    "networkmode": _make_namespace_rule("network"),
    "ipcmode": _make_namespace_rule("ipc", "private", "shareable", "none"),
    "utsmode": _make_namespace_rule("uts", "private"),
    "usernsmode": _make_namespace_rule("user", "private"),
    "cgroupnsmode": _make_namespace_rule("cgroup", "private"),
    "capadd": check_capabilities,
    "capabilities": check_capabilities,
    "devices": check_devices,
    "devicecgrouprules": _check_device_rules,
    "devicerequests": _check_device_requests,
    "maskedpaths": _check_masks,
    "readonlypaths": _check_masks,
    "securityopt": _check_security,
    "logconfig": _check_log,
    "runtime": _check_runtime,
    "cgroup": _check_cgroup,
}
"""The rule of each field that may give rights; it yields the reasons to refuse."""
