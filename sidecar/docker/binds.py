"""Find the binds of a create request, and replace a bind of the engine's socket by the proxy's."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.docker.engine import DEFAULT_SOCKET
from sidecar.docker.json_documents import JsonObject, UnreadableBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_SOURCE = 4096
"""Characters of a bind's source: no path of the system is longer."""


def normalize_path(path: str) -> str:
    """Return an absolute path in one form; /var/run is /run, as on every system with docker."""
    normal = "/" + posixpath.normpath(path).lstrip("/")
    if normal == "/var/run" or normal.startswith("/var/run/"):
        return normal.removeprefix("/var")
    return normal


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of proxy and engine, by all the paths that a bind may name."""

    proxy: str
    """The proxy's socket. It has the same path on the engine's side."""
    engine: frozenset[str]
    """The engine's own socket: all its paths, normalized."""

    @classmethod
    def from_paths(cls, proxy: str, *engine: str) -> Sockets:
        """Make it from the proxy's path and the engine's.

        The default path counts as the engine's too, unless the proxy listens there.
        """
        paths = frozenset(map(normalize_path, (*engine, DEFAULT_SOCKET)))
        return cls(proxy, paths - {normalize_path(proxy)})

    def find_replacement(self, source: str) -> str | None:
        """Return the path to mount instead of `source`; None: leave it as it is."""
        return self.proxy if normalize_path(source) in self.engine else None

    def is_known(self, source: str) -> bool:
        """Return whether `source` is one of the sockets."""
        return normalize_path(source) in {*self.engine, normalize_path(self.proxy)}

    def any_in_folder(self, folder: str) -> bool:
        """Return whether `folder` contains one of the sockets."""
        prefix = normalize_path(folder).rstrip("/") + "/"
        names = {*self.engine, normalize_path(self.proxy)}
        names |= {f"/var{name}" for name in names if name.startswith("/run/")}
        return any(name.startswith(prefix) for name in names)


@dataclass(slots=True)
class Bind:
    """One mount of a path of the engine's machine."""

    source: str
    set_source: Callable[[str], None]
    """Changes the source in the request's body."""
    read_only: bool = False


def find_binds(body: JsonObject, *, devices: bool = True) -> Iterator[Bind]:
    """Yield all binds in the body of a create request, in docker's form and in podman's.

    The engine reads a HostConfig's fields at the top too, where they once were; podman has its
    mounts there. Without `devices`, what local volumes mount is left out. Raises UnreadableBody
    for a source that is no path, because it is too long.
    """
    host_config = body.get_field("HostConfig", dict) or JsonObject([])
    for config in (host_config, body):
        yield from _read_texts(config.get_field("Binds", list) or [])
        yield from _read_mounts(config.get_field("Mounts", list) or [], devices=devices)


def _read_texts(texts: list[Any]) -> Iterator[Bind]:
    for number, text in enumerate(texts):
        if isinstance(text, str) and text.startswith("/"):
            source, colon, rest = text.partition(":")
            _check_length(source)

            def set_source(new: str, number: int = number, rest: str = colon + rest) -> None:
                texts[number] = new + rest

            yield Bind(source, set_source, "ro" in rest.rpartition(":")[2].split(","))


def _read_mounts(mounts: list[Any], *, devices: bool) -> Iterator[Bind]:
    for mount in mounts:
        if not isinstance(mount, JsonObject):
            continue
        options = mount.get_field("options", list) or ()  # podman's
        read_only = mount.get_field("ReadOnly", bool) is True or "ro" in options
        yield from _read_field(mount, "Source", read_only=read_only)
        if devices:
            yield from _read_field(_volume_options(mount), "device")


def _volume_options(mount: JsonObject) -> JsonObject:
    options = mount.get_field("VolumeOptions", dict) or JsonObject([])
    driver = options.get_field("DriverConfig", dict) or JsonObject([])
    return driver.get_field("Options", dict) or JsonObject([])


def _read_field(fields: JsonObject, name: str, *, read_only: bool = False) -> Iterator[Bind]:
    source = fields.get_field(name, str)
    if source is not None and source.startswith("/"):
        _check_length(source)
        yield Bind(source, lambda new: fields.set_field(name, new), read_only)


def _check_length(source: str) -> None:
    if len(source) > MAX_SOURCE:
        raise UnreadableBody(f"a bind's source is longer than {MAX_SOURCE} characters")
