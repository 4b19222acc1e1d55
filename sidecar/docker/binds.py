"""What a container mounts of the daemon's machine: the raw socket is never what it gets."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.docker.json_documents import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USUAL = "/run/docker.sock"


def plain(path: str) -> str:
    """Return an absolute path in one form; /var/run is /run, as on every system with docker."""
    found = "/" + posixpath.normpath(path).lstrip("/")
    if found == "/var/run" or found.startswith("/var/run/"):
        return found.removeprefix("/var")
    return found


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets, by the names that a bind may give them."""

    proxy: str
    """Where the proxy is, on the daemon's side too."""
    raw: frozenset[str]
    """Where the daemon is, in plain form."""

    @classmethod
    def of(cls, proxy: str, *engine: str) -> Sockets:
        """Name them; the daemon is taken to be at the usual place too, unless the proxy is."""
        return cls(proxy, frozenset(map(plain, (*engine, USUAL))) - {plain(proxy)})

    def turned(self, source: str) -> str | None:
        """Return what is mounted in place of `source`; None: nothing is."""
        return self.proxy if plain(source) in self.raw else None

    def above(self, source: str) -> bool:
        """Tell whether `source` is a folder that holds one of the sockets."""
        folder = plain(source).rstrip("/") + "/"
        names = {*self.raw, plain(self.proxy)}
        names |= {f"/var{name}" for name in names if name.startswith("/run/")}
        return any(name.startswith(folder) for name in names)


@dataclass(slots=True)
class Bind:
    """One mount of a path of the daemon's machine, and how to change it."""

    source: str
    change: Callable[[str], None]


def binds(body: Fields) -> Iterator[Bind]:
    """Go through all binds of a create's body, docker's form and libpod's."""
    host_config = body.field("HostConfig", dict) or Fields([])
    yield from _of_texts(host_config.field("Binds", list) or [])
    yield from _of_mounts(host_config.field("Mounts", list) or [])
    yield from _of_mounts(body.field("mounts", list) or [])


def _of_texts(texts: list[Any]) -> Iterator[Bind]:
    for number, text in enumerate(texts):
        if isinstance(text, str) and text.startswith("/"):
            source, colon, rest = text.partition(":")

            def change(new: str, number: int = number, rest: str = colon + rest) -> None:
                texts[number] = new + rest

            yield Bind(source, change)


def _of_mounts(mounts: list[Any]) -> Iterator[Bind]:
    for mount in mounts:
        if not isinstance(mount, Fields):
            continue
        yield from _of_field(mount, "Source")
        yield from _of_field(_volume(mount), "device")


def volumes(config: Fields) -> Iterator[Fields]:
    """Go through what the mounts of a HostConfig tell the drivers of their volumes."""
    for mount in config.field("Mounts", list) or ():
        if isinstance(mount, Fields):
            yield _volume(mount)


def _volume(mount: Fields) -> Fields:
    options = mount.field("VolumeOptions", dict) or Fields([])
    driver = options.field("DriverConfig", dict) or Fields([])
    return driver.field("Options", dict) or Fields([])


def _of_field(fields: Fields, name: str) -> Iterator[Bind]:
    source = fields.field(name, str)
    if source is not None and source.startswith("/"):
        yield Bind(source, lambda new: fields.put(name, new))
