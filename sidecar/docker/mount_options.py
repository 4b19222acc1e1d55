"""Judge in strict mode the options of a mount: those of a local volume, a tmpfs and a bind.

The kernel looks at the flags first. With `bind` it mounts the folder that the device names,
whatever the type says; with `move` and `remount` it changes other mounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.docker.json_documents import JsonObject, read_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sidecar.docker.bind_sources import BindSources
    from sidecar.docker.binds import Sockets

_BIND_FLAGS = frozenset({"bind", "rbind"})
_SPREAD_FLAGS = frozenset({"shared", "rshared"})
"""With these, a mount that a container makes appears on the machine."""
_REFUSED_FLAGS = _SPREAD_FLAGS | {
    *("move", "remount", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable")
}
_VOLUME_TYPES = frozenset({"tmpfs", "nfs", "nfs4", "cifs"})
"""Volume types of the local driver that hold nothing of the machine."""
_KEYS = frozenset({"type", "device", "o"})
_MOUNT_FIELDS = read_names(
    """
    type source target readonly consistency bindoptions volumeoptions tmpfsoptions imageoptions
    """
)
_LOCAL_DRIVERS = frozenset({"", "local"})


def check_volume_options(options: JsonObject, sources: BindSources, sockets: Sockets) -> str | None:
    """Check the options of a volume of the local driver: first the flags, whatever the type."""
    if not options:
        return None
    if any(not isinstance(value, str) for value in options.values()):
        return "a volume with options that are no texts"
    kind = _read(options, "type")
    device = _read(options, "device")
    flags = _split(_read(options, "o"))
    if (refused := flags & _REFUSED_FLAGS) != set():
        return f"a volume with the flag {min(refused)}"
    if flags & _BIND_FLAGS:
        if sockets.any_in_folder(device) or sockets.is_known(device):
            return f"a volume of {device}, which holds a docker socket"
        return None if sources.is_whole(device) else f"a volume of {device}, {_NOT_WHOLE}"
    if kind not in _VOLUME_TYPES and _KEYS & {name.lower() for name in options}:
        return f"a volume of type {kind or 'none'}"
    return None


_NOT_WHOLE = "which is not the job's work folder"


def check_driver(name: Any) -> str | None:
    """Check the driver of a volume: others than docker's own have rights of their own."""
    return None if (name or "") in _LOCAL_DRIVERS else f"the volume driver {name!s:.64}"


def check_mount(mount: JsonObject, sources: BindSources, sockets: Sockets) -> Iterator[str]:
    """Check one of a HostConfig's Mounts, but for its source."""
    kind = mount.get_field("Type", str) or ""
    if kind.lower() not in ("bind", "volume", "tmpfs", "image"):
        yield f"a mount of type {kind:.64}"
    for name, value in mount.fold_names():
        if name not in _MOUNT_FIELDS and value:
            yield f"the unknown field {name!a:.64} of a mount"
    bind = mount.get_field("BindOptions", dict) or JsonObject([])
    yield from check_flags([bind.get_field("Propagation", str)])
    volume = mount.get_field("VolumeOptions", dict) or JsonObject([])
    driver = volume.get_field("DriverConfig", dict) or JsonObject([])
    if (problem := check_driver(driver.get_field("Name", str))) is not None:
        yield problem
    options = driver.get_field("Options", dict) or JsonObject([])
    if (problem := check_volume_options(options, sources, sockets)) is not None:
        yield problem
    tmpfs = mount.get_field("TmpfsOptions", dict) or JsonObject([])
    for words in tmpfs.get_field("Options", list) or ():
        yield from check_tmpfs(words if isinstance(words, list) else [words])


def check_tmpfs(texts: Iterable[Any]) -> Iterator[str]:
    """Check the options of a tmpfs."""
    for text in texts:
        if (refused := _split(text) & (_BIND_FLAGS | _REFUSED_FLAGS)) != set():
            yield f"a tmpfs with the flag {min(refused)}"


def check_flags(texts: Iterable[Any]) -> Iterator[str]:
    """Check the options of a bind."""
    for text in texts:
        if (refused := _split(text) & _SPREAD_FLAGS) != set():
            yield f"a mount with the flag {min(refused)}"


def _read(options: JsonObject, name: str) -> str:
    text: str = options.get_field(name, str) or ""
    return text


def _split(text: Any) -> set[str]:
    return {word.strip().lower() for word in text.split(",")} if isinstance(text, str) else set()
