"""Know in strict mode which containers the job made: it may use no other.

By another container's configuration, files, processes or network a job would have that one's
credentials. On an instance, the containers of all tasks are at the same engine.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from sidecar.docker import routes
from sidecar.docker.json_documents import JsonObject, read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sidecar.docker.heads import RequestHead

EXEC_PATH = re.compile(r"(/libpod)?/containers/[^/]+/exec")
_EXEC_RUN_PATH = re.compile(r"(/libpod)?/exec/([^/]+)/.*")
_RENAME_PATH = re.compile(r"(/libpod)?/containers/[^/]+/rename")
CONNECT_PATH = re.compile(r"(/libpod)?/networks/.+/(connect|disconnect)")
_CONTAINER_PATH = re.compile(r"(/libpod)?/containers/([^/]+)(/.*)?")
_COMMIT_PATHS = ("/commit", "/libpod/commit")
_NO_NAMES = frozenset({"create", "json", "prune", "showmounted", "stats"})
_ID = re.compile(r"[0-9a-f]{12,64}")
"""A whole id, or as much of it as docker shows. Of a shorter part, another may become the owner."""
_MOST_EXECS = 4096
"""Commands in containers that are known at once; the oldest is forgotten first."""
_BUILDX = "buildx_buildkit_"
"""The beginning of the names of the containers in which docker buildx builds."""
_MODES = ("NetworkMode", "PidMode", "IpcMode")


class OwnContainers:
    """The containers of one job, by id and by the names that it gave them."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._names: set[str] = set()
        self._execs: dict[str, None] = {}

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
        match = _EXEC_RUN_PATH.fullmatch(request.path)
        if match is not None and match[2] not in self._execs:
            return f"the command {match[2]!a:.80}, which is not known as the job's (by its id)"
        if request.path in _COMMIT_PATHS:
            return self._check(read_query(request, "container") or "")
        return None

    def find_change(self, request: RequestHead) -> Callable[[int, bytes], None] | None:
        """Return what to call with the engine's response, if a request changes what is known.

        The name of a container that is removed may be another's next.
        """
        if (match := _RENAME_PATH.fullmatch(request.path)) is not None:
            return partial(self._rename, read_query(request, "name"))
        if EXEC_PATH.fullmatch(request.path):
            return self._add_exec
        match = _CONTAINER_PATH.fullmatch(request.path)
        if request.method == "DELETE" and match is not None:
            return partial(self._remove_name, match[2])
        return None

    def _rename(self, name: str | None, status: int, _: bytes) -> None:
        if status == 204:
            self.add_name(name)

    def _remove_name(self, name: str, status: int, _: bytes) -> None:
        if status == 204:
            self._names.discard(name)

    def _add_exec(self, status: int, body: bytes) -> None:
        """Note a new command: its id alone would let others run it, and write its input."""
        found = read_text(body, "Id") if status == 201 else None
        if found is not None:
            self._execs[found] = None
            if len(self._execs) > _MOST_EXECS:
                del self._execs[next(iter(self._execs))]

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
        if name.startswith(_BUILDX):
            return routes.NO_BUILDX
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
