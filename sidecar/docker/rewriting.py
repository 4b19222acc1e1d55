"""Which requests are looked at, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import structlog

from sidecar.docker import container_create, policy
from sidecar.docker.binds import binds
from sidecar.docker.connection import Refused
from sidecar.docker.container_create import Create
from sidecar.docker.json_documents import Unreadable, read

if TYPE_CHECKING:
    from sidecar.docker.binds import Sockets
    from sidecar.docker.connection import Verdict
    from sidecar.docker.credential_variables import Offer
    from sidecar.docker.heads import Request

log = structlog.get_logger()

MOST_BODY = 4 << 20
"""Bytes of a body that is looked at."""
_MOST_TOLD = 64
"""Things that are told of, in one life: a job may ask for as much as it likes."""

ImageVariables = Callable[[str], Awaitable[Sequence[object]]]


class Paths(Protocol):
    """Where containers' own paths come from. Every verb may be said of what is not known."""

    def tied(self, path: str, container: str) -> None:
        """Say whose a minted path is."""

    def revoke(self, path: str) -> None:
        """End a minted path."""


class Copies(Protocol):
    """Folders that the daemon gets a copy of."""

    async def turned(self, source: str) -> str | None:
        """Return the copy of `source`, made if need be; None: it needs none. Raises OSError."""
        ...


@dataclass(slots=True)
class Rules:
    """The proxy's judge."""

    sockets: Sockets
    offer: Offer | None
    """None: containers get no credentials by variables."""
    paths: Paths
    image_variables: ImageVariables
    """Tells the variables of an image, as a list of `NAME=value`."""
    copies: Copies | None = None
    strict: bool = False
    _told: set[str] = field(default_factory=set)

    def follows(self) -> None:
        """Let a client speak HTTP/2, which nobody can follow. Raises Refused."""
        if self.strict:
            self._refuse("HTTP/2 without an upgrade: what is asked by it nobody can look at")

    def looks_at(self, request: Request) -> int | None:
        """Return how many bytes of body to wait for; None: it goes by. Raises Refused."""
        if request.method.upper() != "POST":
            return None
        path = request.path
        looked_at = path in (container_create.PATH, container_create.LIBPOD_PATH)
        if self.strict and not looked_at:
            if (wrong := policy.of_request(request)) is not None:
                self._refuse(wrong)
            looked_at = bool(policy.EXEC.fullmatch(path) or policy.VOLUME.fullmatch(path))
        return MOST_BODY if looked_at else None

    async def judged(self, request: Request, body: bytes) -> Verdict:
        """Look at a request. Raises Refused."""
        try:
            if request.path in (container_create.PATH, container_create.LIBPOD_PATH):
                return await self._created(
                    Create(body, libpod=request.path == container_create.LIBPOD_PATH)
                )
            self._look_strictly(request, body)
        except Unreadable as error:
            raise Refused(400, str(error)) from error
        return _Passed(body)

    def _look_strictly(self, request: Request, body: bytes) -> None:
        fields = read(body)
        if policy.EXEC.fullmatch(request.path):
            wrong = policy.of_exec(fields)
        else:
            wrong = policy.of_volume(fields, self.sockets)
        if wrong is not None:
            self._refuse(wrong)

    async def _created(self, asked: Create) -> Verdict:
        if self.strict:
            if (wrong := policy.of_create(asked, self.sockets)) is not None:
                self._refuse(wrong)
        else:
            self._tell_exposed(asked)
        asked.turn(self.sockets.turned)
        if self.copies is not None:
            await self._copy(asked, self.copies)
        path = None
        if self.offer is not None and asked.welcomes(self.offer):
            brought = await self.image_variables(asked.image) if asked.image else ()
            path = asked.give(self.offer, brought)
        return _Made(asked.body, path, self.paths)

    async def _copy(self, asked: Create, copies: Copies) -> None:
        turned = {}
        try:
            for bind in binds(asked.fields):
                turned[bind.source] = await copies.turned(bind.source)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Refused(
                500,
                f"the agent cannot copy {bind.source} for the docker daemon: {why.lower()} "
                "(SIDECAR_SHARED_DIR)",
            ) from error
        asked.turn(turned.get)

    def _tell_exposed(self, asked: Create) -> None:
        for bind in binds(asked.fields):
            if self.sockets.above(bind.source) and self._first(bind.source):
                log.warning(
                    "docker.socket_exposed",
                    source=bind.source,
                    reason="a container gets a folder that holds a docker socket, and so the "
                    "daemon itself; SIDECAR_DOCKER_STRICT refuses it",
                )

    def _refuse(self, wrong: str) -> None:
        if self._first(wrong):
            log.warning("docker.request_refused", reason=wrong)
        raise Refused(403, f"refused by the runner's agent: {wrong} (SIDECAR_DOCKER_STRICT)")

    def _first(self, what: str) -> bool:
        if what in self._told or len(self._told) >= _MOST_TOLD:
            return False
        self._told.add(what)
        return True


@dataclass(frozen=True, slots=True)
class _Passed:
    """A request that was looked at, and is as it was."""

    body: bytes

    def answered(self, status: int, body: bytes) -> None:
        """Do nothing."""

    def unanswered(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A create that the engine is told of."""

    body: bytes
    path: str | None = field(repr=False)
    paths: Paths

    def answered(self, status: int, body: bytes) -> None:
        """Tie the path to the container that was made."""
        if self.path is None:
            return
        container = _id(body) if status == 201 else None
        if container is None:
            self.paths.revoke(self.path)
        else:
            self.paths.tied(self.path, container)

    def unanswered(self) -> None:
        """End the path: whether there is a container, nobody knows."""
        if self.path is not None:
            self.paths.revoke(self.path)


def _id(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    known = found.get("Id") if isinstance(found, dict) else None
    return known if isinstance(known, str) else None
