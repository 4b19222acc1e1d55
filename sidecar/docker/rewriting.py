"""Decide which requests the proxy checks, and rewrite those that create a container.

The variables to add are in credential_variables, the mounts to replace in binds and folder_copy,
and what is refused (SIDECAR_DOCKER_STRICT) in strict_mode.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from sidecar.docker import container_create, strict_mode
from sidecar.docker.binds import find_binds
from sidecar.docker.connection import RequestRefused
from sidecar.docker.container_create import ContainerCreate
from sidecar.docker.json_documents import UnreadableBody, parse_object

if TYPE_CHECKING:
    from sidecar.docker.binds import Sockets
    from sidecar.docker.connection import CheckedRequest
    from sidecar.docker.credential_variables import CredentialVariables
    from sidecar.docker.folder_copy import FolderCopy
    from sidecar.docker.heads import RequestHead

log = structlog.get_logger()

MAX_BODY = 4 << 20
"""Bytes of a body that is checked."""
_MAX_WARNINGS = 64
"""Different warnings that one agent logs: a job may send as many requests as it likes."""

ReadImageVariables = Callable[[str], Awaitable[Sequence[object]]]
"""Returns the variables of an image, as a list of `NAME=value`."""


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
    _warned: set[str] = field(default_factory=set)

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
        checked = path in (container_create.PATH, container_create.LIBPOD_PATH)
        if self.strict and not checked:
            if (problem := strict_mode.check_request(request)) is not None:
                self._refuse(problem)
            checked = bool(
                strict_mode.EXEC_PATH.fullmatch(path) or strict_mode.VOLUME_PATH.fullmatch(path)
            )
        return MAX_BODY if checked else None

    async def check(self, request: RequestHead, body: bytes) -> CheckedRequest:
        """Check a request and rewrite it if necessary. Raises RequestRefused."""
        try:
            if request.path in (container_create.PATH, container_create.LIBPOD_PATH):
                libpod = request.path == container_create.LIBPOD_PATH
                return await self._rewrite_create(ContainerCreate(body, libpod=libpod))
            self._check_strictly(request, body)
        except UnreadableBody as error:
            raise RequestRefused(400, str(error)) from error
        return _UnchangedRequest(body)

    def _check_strictly(self, request: RequestHead, body: bytes) -> None:
        fields = parse_object(body)
        if strict_mode.EXEC_PATH.fullmatch(request.path):
            problem = strict_mode.check_exec(fields)
        else:
            problem = strict_mode.check_volume(fields, self.sockets)
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
        return _CreateRequest(create.body, path, self.paths)

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
            if self.sockets.any_in_folder(bind.source) and self._is_new(bind.source):
                log.warning(
                    "docker.socket_exposed",
                    source=bind.source,
                    reason="a container gets a folder that holds a docker socket, and so the "
                    "daemon itself; SIDECAR_DOCKER_STRICT refuses it",
                )

    def _refuse(self, problem: str) -> None:
        if self._is_new(problem):
            log.warning("docker.request_refused", reason=problem)
        raise RequestRefused(
            403, f"refused by the runner's agent: {problem} (SIDECAR_DOCKER_STRICT)"
        )

    def _is_new(self, warning: str) -> bool:
        if warning in self._warned or len(self._warned) >= _MAX_WARNINGS:
            return False
        self._warned.add(warning)
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


def _read_id(body: bytes) -> str | None:
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    value = fields.get("Id") if isinstance(fields, dict) else None
    return value if isinstance(value, str) else None
