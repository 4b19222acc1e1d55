"""Which requests are looked at, and what becomes of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sidecar.docker import create
from sidecar.docker.connection import Refused
from sidecar.docker.documents import Unreadable

if TYPE_CHECKING:
    from sidecar.docker.binds import Sockets
    from sidecar.docker.connection import Verdict
    from sidecar.docker.heads import Request
    from sidecar.docker.variables import Offer

MOST_BODY = 4 << 20
"""Bytes of the body of a create."""


class Paths(Protocol):
    """Where containers' own paths come from. Every verb may be said of what is not known."""

    def tied(self, path: str, container: str) -> None:
        """Say whose a minted path is."""

    def revoke(self, path: str) -> None:
        """End a minted path."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The proxy's judge."""

    sockets: Sockets
    offer: Offer | None
    """None: containers get no credentials by variables."""
    paths: Paths

    def follows(self) -> None:
        """Let a client speak HTTP/2."""

    def looks_at(self, request: Request) -> int | None:
        """Look at creates alone."""
        created = request.path in (create.PATH, create.LIBPOD_PATH)
        return MOST_BODY if created and request.method.upper() == "POST" else None

    async def judged(self, request: Request, body: bytes) -> Verdict:
        """Rewrite a create. Raises Refused."""
        try:
            made = create.rewritten(
                body,
                self.sockets.turned,
                self.offer,
                libpod=request.path == create.LIBPOD_PATH,
            )
        except Unreadable as error:
            raise Refused(400, str(error)) from error
        return _Made(made, self.paths)


class _Made:
    """A create that the engine is told of."""

    def __init__(self, made: create.Created, paths: Paths) -> None:
        self.body = made.body
        self._path = made.path
        self._paths = paths

    def answered(self, status: int, body: bytes) -> None:
        """Tie the path to the container that was made."""
        if self._path is None:
            return
        container = _id(body) if status == 201 else None
        if container is None:
            self._paths.revoke(self._path)
        else:
            self._paths.tied(self._path, container)

    def unanswered(self) -> None:
        """End the path: whether there is a container, nobody knows."""
        if self._path is not None:
            self._paths.revoke(self._path)


def _id(body: bytes) -> str | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    known = found.get("Id") if isinstance(found, dict) else None
    return known if isinstance(known, str) else None
