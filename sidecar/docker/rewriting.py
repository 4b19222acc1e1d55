"""Decide which requests the proxy checks, and rewrite those that create a container.

The variables to add are in credential_variables, the mounts to replace in binds and folder_copy,
and what is refused (SIDECAR_DOCKER_STRICT) in strict_mode.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, quote

import structlog

from sidecar.docker import container_create, created, credential_variables, strict_mode
from sidecar.docker.binds import find_binds
from sidecar.docker.connection import RequestRefused
from sidecar.docker.container_create import ContainerCreate
from sidecar.docker.engine import EngineError, NotFound
from sidecar.docker.json_documents import JsonObject, UnreadableBody, parse_object, serialize

if TYPE_CHECKING:
    from sidecar.docker.binds import Sockets
    from sidecar.docker.connection import CheckedRequest
    from sidecar.docker.created import ObjectRecord
    from sidecar.docker.credential_variables import CredentialVariables
    from sidecar.docker.folder_copy import FolderCopy
    from sidecar.docker.heads import RequestHead

log = structlog.get_logger()

MAX_BODY = 4 << 20
"""Bytes of a body that is checked."""
NETWORK_PATH = re.compile(r"(/libpod)?/networks/create")
COMMIT_PATH = "/commit"
_BUILD_PATHS = frozenset({"/build", "/libpod/build", "/grpc", "/session"})
"""Requests that build images; BuildKit's names no image that could be read."""
_MAX_WARNINGS = 16
"""Different warnings that one agent logs: a job may send as many requests as it likes."""

ReadImageVariables = Callable[[str], Awaitable[Sequence[object]]]
"""Returns the variables of an image, as a list of `NAME=value`."""


AskEngine = Callable[[str], Awaitable[Any]]
"""Returns the engine's answer to GET; raises EngineError."""


class PathRegistry(Protocol):
    """Knows which container has which path. Unknown paths are no error."""

    def assign(self, path: str, container: str) -> None:
        """Note that a minted path belongs to this container."""

    def revoke(self, path: str) -> None:
        """End a minted path."""


@dataclass(slots=True)
class RequestRewriter:
    """The proxy's request policy (see `connection.RequestPolicy`)."""

    sockets: Sockets
    variables: CredentialVariables | None
    """None: containers get no variables."""
    paths: PathRegistry
    read_image_variables: ReadImageVariables
    folder_copy: FolderCopy | None = None
    strict: bool = False
    record: ObjectRecord | None = None
    """Where everything is recorded that is created; None: nothing is."""
    ask_engine: AskEngine | None = None
    """Asks the engine which volumes exist, and what a container is called; with a record."""
    _exposed: set[str] = field(default_factory=set)
    """The folders that were warned about; a job chooses their names."""
    _refused: dict[str, set[str]] = field(default_factory=dict)
    """The refusals that were logged, by their kind: a job chooses the rest of some texts, and could
    leave no room for another kind."""

    def allow_http2(self) -> None:
        """Let a client use HTTP/2, which the proxy cannot follow. Raises RequestRefused."""
        if self.strict:
            self._refuse("HTTP/2 without an upgrade: its requests cannot be checked")

    def body_limit(self, request: RequestHead) -> int | None:
        """Return the size limit of a body that must be checked; None: pass the request on.

        Raises RequestRefused.
        """
        if request.method.upper() != "POST":
            return None
        path = request.path
        if self.record is not None and path in _BUILD_PATHS:
            self.record.note_build()
        checked = path in (container_create.PATH, container_create.LIBPOD_PATH) or (
            self.record is not None and _is_recorded(path)
        )
        if self.strict:
            if (problem := strict_mode.check_request(request)) is not None:
                self._refuse(problem)
            checked = checked or bool(
                strict_mode.EXEC_PATH.fullmatch(path) or strict_mode.VOLUME_PATH.fullmatch(path)
            )
        return MAX_BODY if checked else None

    async def check(self, request: RequestHead, body: bytes) -> CheckedRequest:
        """Check a request and rewrite it if necessary. Raises RequestRefused."""
        try:
            if request.path in (container_create.PATH, container_create.LIBPOD_PATH):
                libpod = request.path == container_create.LIBPOD_PATH
                return await self._rewrite_create(ContainerCreate(body, libpod=libpod))
            if self.strict:
                self._check_strictly(request, body)
            if self.record is not None:
                return await self._record(request, body, self.record)
        except UnreadableBody as error:
            raise RequestRefused(400, str(error)) from error
        return _UnchangedRequest(body)

    def _check_strictly(self, request: RequestHead, body: bytes) -> None:
        problem = None
        if strict_mode.EXEC_PATH.fullmatch(request.path):
            problem = strict_mode.check_exec(parse_object(body))
        elif strict_mode.VOLUME_PATH.fullmatch(request.path):
            problem = strict_mode.check_volume(parse_object(body), self.sockets)
        if problem is not None:
            self._refuse(problem)

    async def _rewrite_create(self, create: ContainerCreate) -> CheckedRequest:
        if self.strict:
            if (problem := strict_mode.check_create(create, self.sockets)) is not None:
                self._refuse(problem)
        else:
            self._warn_exposed(create)
        create.replace_binds(self.sockets.find_replacement)
        if self.folder_copy is not None:
            await self._copy_binds(create, self.folder_copy)
        path = None
        if self.variables is not None and create.accepts(self.variables):
            image_env = await self.read_image_variables(create.image) if create.image else ()
            path = create.add_variables(self.variables, image_env)
        request = _CreateRequest(create.body, path, self.paths)
        if self.record is None:
            return request
        names = created.find_volume_names(create.fields)
        since, volumes = time.time(), await self._find_missing_volumes(names)
        self.record.begin()
        return _RecordedCreate(self.record, request, create.added, volumes, since)

    async def _find_missing_volumes(self, names: set[str]) -> list[str]:
        """Return which volumes do not exist: the job makes them. Others are not the job's."""
        missing: list[str] = []
        if (ask := self.ask_engine) is None:
            return missing
        for name in names:
            try:
                await ask(f"/volumes/{quote(name, safe='')}")
            except NotFound:
                missing.append(name)
            except EngineError:
                continue  # unknown: left alone
        return missing

    async def _record(
        self, request: RequestHead, body: bytes, record: ObjectRecord
    ) -> CheckedRequest:
        """Have the response recorded to a request that creates a network or volume."""
        if request.path == COMMIT_PATH:
            return _UnchangedRequest(await self._clear_commit(request, body, record))
        if NETWORK_PATH.fullmatch(request.path):
            record.begin()
            return _RecordedRequest(body, record, created.NETWORK, "Id")
        if not strict_mode.VOLUME_PATH.fullmatch(request.path):
            return _UnchangedRequest(body)
        name = parse_object(body).get_field("Name", str) if body.strip() else None
        since = time.time()
        if name and not await self._find_missing_volumes({name}):
            return _UnchangedRequest(body)
        record.begin()
        return _RecordedRequest(body, record, created.VOLUME, "Name", since)

    async def _clear_commit(self, request: RequestHead, body: bytes, record: ObjectRecord) -> bytes:
        """Return the body of a commit, by which the image does not get the added variables."""
        container = next(iter(parse_qs(request.query).get("container", ())), "")
        if self.ask_engine is None or not container:
            return body
        try:
            inspected = await self.ask_engine(f"/containers/{quote(container, safe='')}/json")
        except EngineError:
            return body  # the commit fails too
        added = record.added_variables(str(inspected.get("Id")))
        if not added:
            return body
        # The client sends no configuration, or null, unless it changes something.
        fields = JsonObject([]) if body.strip() in (b"", b"null") else parse_object(body)
        env = fields.get_field("Env", list) or []
        fields.set_field("Env", credential_variables.clear(env, added))
        return serialize(fields)

    async def _copy_binds(self, create: ContainerCreate, folder_copy: FolderCopy) -> None:
        replacements = {}
        try:
            for bind in find_binds(create.fields):
                replacements[bind.source] = await folder_copy.provide_copy(bind.source)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise RequestRefused(
                500,
                f"the agent cannot copy {bind.source} for the docker daemon: {reason.lower()} "
                "(SIDECAR_SHARED_DIR)",
            ) from error
        create.replace_binds(replacements.get)

    def _warn_exposed(self, create: ContainerCreate) -> None:
        for bind in find_binds(create.fields):
            if self.sockets.any_in_folder(bind.source) and _add(self._exposed, bind.source):
                log.warning(
                    "docker.socket_exposed",
                    source=bind.source,
                    reason="a container gets a folder that holds a docker socket, and so the "
                    "daemon itself; SIDECAR_DOCKER_STRICT refuses it",
                )

    def _refuse(self, problem: str) -> None:
        if _add(self._refused.setdefault(_find_kind(problem), set()), problem):
            log.warning("docker.request_refused", reason=problem)
        raise RequestRefused(
            403, f"refused by the runner's agent: {problem} (SIDECAR_DOCKER_STRICT)"
        )


def _find_kind(problem: str) -> str:
    """Return the kind of a problem: its first words; what a job chose comes later, or is a path."""
    return "a path" if problem.startswith("/") else " ".join(problem.split()[:2])


def _add(logged: set[str], warning: str) -> bool:
    """Add a warning; return whether it is to be logged: it is new, and not one of many."""
    if warning in logged or len(logged) >= _MAX_WARNINGS:
        return False
    logged.add(warning)
    return True


@dataclass(frozen=True, slots=True)
class _UnchangedRequest:
    """A request that was checked, and goes on as it is."""

    body: bytes

    def handle_response(self, status: int, body: bytes) -> None:
        """Do nothing."""

    def handle_no_response(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _CreateRequest:
    """A create request for the engine; its response says which container has the minted path."""

    body: bytes
    path: str | None = field(repr=False)
    paths: PathRegistry

    def handle_response(self, status: int, body: bytes) -> None:
        """Assign the path to the new container, or end it if there is none."""
        if self.path is None:
            return
        container = _read_id(body) if status == 201 else None
        if container is None:
            self.paths.revoke(self.path)
        else:
            self.paths.assign(self.path, container)

    def handle_no_response(self) -> None:
        """End the path: it is unknown whether there is a container."""
        if self.path is not None:
            self.paths.revoke(self.path)


@dataclass(frozen=True, slots=True)
class _RecordedRequest:
    """A request that creates a network or a volume; its response says which."""

    body: bytes
    record: ObjectRecord
    kind: str
    field: str
    """The field of the response that names it."""
    since: float = 0.0

    def handle_response(self, status: int, body: bytes) -> None:
        """Record what was created."""
        if status in (200, 201):  # 200 is podman's
            self.record.add(self.kind, _read_text(body, self.field), self.since)
        self.record.end()

    def handle_no_response(self) -> None:
        """Note that none will come."""
        self.record.end()


@dataclass(frozen=True, slots=True)
class _RecordedCreate:
    """A create request whose container is recorded, and the volumes that it makes."""

    record: ObjectRecord
    request: _CreateRequest
    added: tuple[str, ...]
    """The variables that were added."""
    volumes: list[str]
    """The named volumes that did not exist before."""
    since: float

    @property
    def body(self) -> bytes:
        """The body for the engine."""
        return self.request.body

    def handle_response(self, status: int, body: bytes) -> None:
        """Record the container, then assign its path."""
        container = _read_id(body) if status == 201 else None
        if container is not None:
            self.record.add(created.CONTAINER, container)
            self.record.note_variables(container, self.added)
            for name in self.volumes:
                self.record.add(created.VOLUME, name, self.since)
        self.record.end()
        self.request.handle_response(status, body)

    def handle_no_response(self) -> None:
        """End the path: it is unknown whether there is a container."""
        self.record.end()
        self.request.handle_no_response()


def _is_recorded(path: str) -> bool:
    return (
        path == COMMIT_PATH
        or NETWORK_PATH.fullmatch(path) is not None
        or strict_mode.VOLUME_PATH.fullmatch(path) is not None
    )


def _read_id(body: bytes) -> str | None:
    return _read_text(body, "Id")


def _read_text(body: bytes, field: str) -> str | None:
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    value = (fields.get(field) or fields.get(field.lower())) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else None
