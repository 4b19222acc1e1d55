"""A container as it is asked for, and as the engine is told: nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.docker import credential_variables
from sidecar.docker.binds import binds
from sidecar.docker.json_documents import read, written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.docker.credential_variables import Offer

PATH = "/containers/create"
LIBPOD_PATH = "/libpod/containers/create"


class Create:
    """The body of one create, in docker's form or in podman's own."""

    def __init__(self, body: bytes, *, libpod: bool = False) -> None:
        """Read it. Raises Unreadable."""
        self.fields = read(body)
        self.libpod = libpod
        self._body = body
        self._changed = False
        self._variables = _Map(self) if libpod else _List(self)

    @property
    def body(self) -> bytes:
        """What goes to the engine: the same to the byte, if there was nothing to change."""
        return written(self.fields) if self._changed else self._body

    @property
    def image(self) -> str | None:
        """Its image, as it is named."""
        found: str | None = self.fields.field("image", str)
        return found

    def welcomes(self, offer: Offer) -> bool:
        """Whether it has no credentials of its own, as far as this body tells."""
        brought = self._variables.brought()
        return brought is not None and offer.welcome(brought)

    def turn(self, turn: Callable[[str], str | None]) -> None:
        """Mount in place of a path what `turn` says; None: the path itself."""
        for bind in binds(self.fields):
            new = turn(bind.source)
            if new is not None and new != bind.source:
                bind.change(new)
                self._changed = True

    def give(self, offer: Offer, image: Sequence[object] = ()) -> str | None:
        """Set what the container does not bring, itself or by its image's variables (`image`).

        Returns the path that was minted for it, if one was. Secret.
        """
        brought = self._variables.brought()
        if brought is None:
            return None  # the engine says what is wrong
        brought = {**credential_variables.brought(image), **brought}
        if not offer.welcome(brought):
            return None
        path = None if credential_variables.RELATIVE_URI in brought else offer.mint()
        self._variables.add(offer.added(brought, path))
        self._changed = True
        return path


class _List:
    """Docker's `Env`: a list of `NAME=value` and bare `NAME`."""

    def __init__(self, create: Create) -> None:
        self._fields = create.fields

    def _list(self) -> list[object] | None:
        key = self._fields.key("Env")
        found = self._fields[key] if key is not None else None
        return found if isinstance(found, list) else [] if found is None else None

    def brought(self) -> dict[str, str | None] | None:
        """Return the variables, None for one that is to be unset; None: they cannot be read."""
        found = self._list()
        return None if found is None else credential_variables.brought(found)

    def add(self, added: dict[str, str]) -> None:
        """Set these; the others stay where they are."""
        self._fields.put("Env", credential_variables.merged(self._list() or [], added))


class _Map:
    """Libpod's `env`: an object; `unsetenv` names those that are to be unset."""

    def __init__(self, create: Create) -> None:
        self._fields = create.fields

    def brought(self) -> dict[str, str | None] | None:
        """Return the variables, None for one that is to be unset; None: they cannot be read."""
        key = self._fields.key("env")
        found = self._fields[key] if key is not None else None
        if not isinstance(found, dict | None):
            return None
        unset = self._fields.field("unsetenv", list) or []
        given = {name: str(value) for name, value in (found or {}).items()}
        return {**dict.fromkeys(map(str, unset)), **given}

    def add(self, added: dict[str, str]) -> None:
        """Set these; the others stay where they are."""
        self._fields.put("env", {**(self._fields.field("env", dict) or {}), **added})
