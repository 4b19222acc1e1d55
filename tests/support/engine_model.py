"""Say which rights a docker engine gives to a container, from the configuration that it has read.

This knows nothing of the proxy: a field is judged by what docker's engine does with it.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_STRONG = frozenset(
    {"ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "DAC_READ_SEARCH", "BPF", "SYS_BOOT"}
)
_LOCAL_LOGS = ("", "json-file", "none", "local", "journald")
_NAMESPACES = ("PidMode", "NetworkMode", "IpcMode", "UTSMode", "CgroupnsMode", "UsernsMode")


def find_rights(host: Mapping[str, Any], may_mount: Callable[[str], bool]) -> list[str]:
    """Return what a container with this HostConfig could do to the machine or another container."""
    found = (_find_namespaces(host), _find_powers(host), _find_devices(host))
    return [*(right for rights in found for right in rights), *_find_folders(host, may_mount)]


def _find_namespaces(host: Mapping[str, Any]) -> Iterator[str]:
    for name in _NAMESPACES:
        mode = host.get(name) or ""
        if mode == "host" or mode.startswith(("container:", "ns:")):
            yield f"{name} {mode}"
    for name in ("Privileged", "Cgroup"):
        if host.get(name):
            yield name
    if any(host.get("VolumesFrom") or ()):
        yield "another's volumes"


def _find_powers(host: Mapping[str, Any]) -> Iterator[str]:
    for name in host.get("CapAdd") or ():
        if name.upper().removeprefix("CAP_") in _STRONG:
            yield f"the capability {name}"
    for option in host.get("SecurityOpt") or ():
        if not option.startswith("no-new-privileges"):
            yield f"the option {option}"


def _find_devices(host: Mapping[str, Any]) -> Iterator[str]:
    for name in ("Devices", "DeviceCgroupRules"):
        if host.get(name):
            yield f"{name} {host[name]}"
    if "/" in (host.get("Runtime") or ""):
        yield "a runtime"
    if ((host.get("LogConfig") or {}).get("Type") or "") not in _LOCAL_LOGS:
        yield "a log driver"


def find_masks(host: Mapping[str, Any]) -> list[str]:
    """Return which masks were asked to be away; an engine that has read it puts its own there."""
    return [name for name in ("MaskedPaths", "ReadonlyPaths") if host.get(name) is not None]


def _find_folders(host: Mapping[str, Any], may_mount: Callable[[str], bool]) -> Iterator[str]:
    sources = [text.partition(":")[0] for text in host.get("Binds") or () if ":" in text]
    for mount in host.get("Mounts") or ():
        if (mount.get("Type") or "volume") not in (
            "volume",
            "tmpfs",
        ):
            sources.append(mount.get("Source") or "/")
        options = ((mount.get("VolumeOptions") or {}).get("DriverConfig") or {}).get("Options")
        if options:
            yield f"a volume with {options}"
    for source in sources:
        if source.startswith("/") and not may_mount(posixpath.normpath(source).replace("//", "/")):
            yield f"the folder {source}"
    for options in (host.get("Tmpfs") or {}).values():
        if "bind" in options:
            yield f"a tmpfs with {options}"
