"""Note what the engine's response to a checked request says: what was created, and for whom.

Each class here is a request that the proxy has let pass, with its body as the engine gets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from sidecar.docker import created
from sidecar.docker.json_documents import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sidecar.docker.created import ObjectRecord
    from sidecar.docker.own_containers import OwnContainers


class PathRegistry(Protocol):
    """Knows which container has which path. Unknown paths are no error."""

    def assign(self, path: str, container: str) -> None:
        """Note that a minted path belongs to this container."""

    def revoke(self, path: str) -> None:
        """End a minted path."""

    def begin_start(self) -> None:
        """Note that a container is being started, or joins a network: it gets an address."""

    def end_start(self) -> None:
        """Note that the engine has answered that request, or never will."""


@dataclass(frozen=True, slots=True)
class UnchangedRequest:
    """A request that was checked, and goes on as it is."""

    body: bytes

    def handle_response(self, status: int, body: bytes) -> None:
        """Do nothing."""

    def handle_no_response(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A create request for the engine; its response says which container has the minted path."""

    body: bytes
    path: str | None = field(repr=False)
    paths: PathRegistry
    own: OwnContainers | None = None
    name: str | None = None

    def handle_response(self, status: int, body: bytes) -> None:
        """Assign the path to the new container, or end it if there is none."""
        container = _read_id(body) if status == 201 else None
        if container is not None and self.own is not None:
            self.own.add(container, self.name)
        if self.path is None:
            return
        if container is None:
            self.paths.revoke(self.path)
        else:
            self.paths.assign(self.path, container)

    def handle_no_response(self) -> None:
        """End the path: it is unknown whether there is a container."""
        if self.path is not None:
            self.paths.revoke(self.path)


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A request by which a container gets an address; not every one of them does."""

    body: bytes
    paths: PathRegistry

    def handle_response(self, status: int, body: bytes) -> None:  # noqa: ARG002
        """Note that the container has its address, if it gets one."""
        self.paths.end_start()

    def handle_no_response(self) -> None:
        """Note that no answer comes: the container may have its address."""
        self.paths.end_start()


@dataclass(frozen=True, slots=True)
class NotedRequest:
    """A request by which the job gets a container's name, or loses it, or gets a command's id."""

    body: bytes
    note: Callable[[int, bytes], None]

    def handle_response(self, status: int, body: bytes) -> None:
        """Note what the engine has done."""
        self.note(status, body)

    def handle_no_response(self) -> None:
        """Do nothing: the name may be another's."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
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
            self.record.add(self.kind, read_text(body, self.field), self.since)
        self.record.end()

    def handle_no_response(self) -> None:
        """Note that none will come."""
        self.record.end()


@dataclass(frozen=True, slots=True)
class RecordedCreate:
    """A create request whose container is recorded, and the volumes that it makes."""

    record: ObjectRecord
    request: CreateRequest
    originals: Mapping[str, str | None]
    """The variables that were changed."""
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
            self.record.note_variables(container, self.originals)
            for name in self.volumes:
                self.record.add(created.VOLUME, name, self.since)
        self.record.end()
        self.request.handle_response(status, body)

    def handle_no_response(self) -> None:
        """End the path: it is unknown whether there is a container."""
        self.record.end()
        self.request.handle_no_response()


def _read_id(body: bytes) -> str | None:
    return read_text(body, "Id")
