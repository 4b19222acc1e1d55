"""Know in strict mode which containers the job made: it may use no other.

By another container's configuration, files, processes or network a job would have that one's
credentials. On an instance, the containers of all tasks are at the same engine.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from sidecar.docker.json_documents import JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sidecar.docker.heads import RequestHead

_RENAME_PATH = re.compile(r"(/libpod)?/containers/[^/]+/rename")
CONNECT_PATH = re.compile(r"(/libpod)?/networks/.+/(connect|disconnect)")
_CONTAINER_PATH = re.compile(r"(/libpod)?/containers/([^/]+)(/.*)?")
_COMMIT_PATHS = ("/commit", "/libpod/commit")
_NO_NAMES = frozenset({"create", "json", "prune", "showmounted", "stats"})
_ID = re.compile(r"[0-9a-f]{12,64}")
"""A whole id, or as much of it as docker shows. Of a shorter part, another may become the owner."""
_MODES = ("NetworkMode", "PidMode", "IpcMode")


class OwnContainers:
    """The containers of one job, by id and by the names that it gave them."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._names: set[str] = set()

    def add(self, container: str, name: str | None) -> None:
        """Note that the job made a container."""
        self._ids.add(container)
        self.add_name(name)

    def add_name(self, name: str | None) -> None:
        """Note that a container of the job's has this name."""
        if name:
            self._names.add(name.lstrip("/"))

    def has(self, name: str) -> bool:
        """Return whether a name or an id is one of the job's."""
        plain = name.lstrip("/")
        if _ID.fullmatch(plain):
            return plain in self._ids or any(one.startswith(plain) for one in self._ids)
        return plain in self._names

    def check_request(self, request: RequestHead) -> str | None:
        """Return why a request is refused: it names another's container."""
        match = _CONTAINER_PATH.fullmatch(request.path)
        if match is not None and (match[3] or match[2] not in _NO_NAMES):
            return self._check(match[2])
        if request.path in _COMMIT_PATHS:
            return self._check(read_query(request, "container") or "")
        return None

    def find_name_change(self, request: RequestHead) -> Callable[[], None] | None:
        """Return what to do when the engine has changed a name; None: it does not.

        The name of a container that is removed may be another's next.
        """
        if (match := _RENAME_PATH.fullmatch(request.path)) is not None:
            return partial(self.add_name, read_query(request, "name"))
        match = _CONTAINER_PATH.fullmatch(request.path)
        if request.method == "DELETE" and match is not None:
            return partial(self._names.discard, match[2])
        return None

    def check_create(self, body: JsonObject) -> str | None:
        """Return why a create request is refused: the container would share with another's."""
        config = body.get_field("HostConfig", dict) or JsonObject([])
        names = (*_find_shared(config), *_find_shared_by_podman(body))
        return next((found for name in names if (found := self._check(name))), None)

    def check_connect(self, body: JsonObject) -> str | None:
        """Return why a request for a network is refused."""
        return self._check(body.get_field("Container", str) or "")

    def _check(self, name: str) -> str | None:
        if self.has(name):
            return None
        return f"the container {name!a:.80}, which is not known as the job's (by its name or id)"


def read_query(request: RequestHead, name: str) -> str | None:
    """Return the first value of a field of the query, which the engine takes."""
    fields = parse_qsl(request.query, encoding="utf-8", errors="surrogateescape")
    return next((value for key, value in fields if key == name), None)


def _find_shared(config: JsonObject) -> Iterator[str]:
    for field in ("VolumesFrom", "Links"):
        for text in config.get_field(field, list) or ():
            if isinstance(text, str):
                yield text.partition(":")[0]
    for field in _MODES:
        kind, colon, name = (config.get_field(field, str) or "").partition(":")
        if colon and kind == "container":
            yield name


def _find_shared_by_podman(body: JsonObject) -> Iterator[str]:
    for text in body.get_field("volumes_from", list) or ():
        yield str(text).partition(":")[0]
    for field in ("pidns", "netns", "ipcns", "userns", "utsns", "cgroupns"):
        space = body.get_field(field, dict) or JsonObject([])
        if space.get_field("nsmode", str) in ("container", "pod"):
            yield space.get_field("value", str) or ""
