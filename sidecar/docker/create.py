"""A container as it is asked for, and as the engine is told: nothing else changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.docker import variables
from sidecar.docker.binds import binds
from sidecar.docker.documents import read, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidecar.docker.documents import Fields
    from sidecar.docker.variables import Offer

PATH = "/containers/create"
LIBPOD_PATH = "/libpod/containers/create"


class Created(NamedTuple):
    """What goes to the engine."""

    body: bytes
    path: str | None
    """The path that was minted for the container, if one was. Secret."""


def rewritten(
    body: bytes, turn: Callable[[str], str | None], offer: Offer | None, *, libpod: bool = False
) -> Created:
    """Rewrite one create's body. Raises Unreadable; what needs no change stays to the byte.

    `turn` says what is mounted in place of a path; None: the path itself.
    """
    found = read(body)
    changed = False
    for bind in binds(found):
        if (new := turn(bind.source)) is not None and new != bind.source:
            bind.change(new)
            changed = True
    path = None
    if offer is not None:
        offered = _offered_map(found, offer) if libpod else _offered_list(found, offer)
        path, added = offered
        changed |= added
    return Created(written(found) if changed else body, path)


def _offered_list(found: Fields, offer: Offer) -> tuple[str | None, bool]:
    key = found.key("Env")
    env = found[key] if key is not None and found[key] is not None else []
    if not isinstance(env, list):
        return None, False  # the engine says what is wrong
    path, added = _offered(variables.brought(env), offer)
    if added:
        found.put("Env", variables.merged(env, added))
    return path, bool(added)


def _offered_map(found: Fields, offer: Offer) -> tuple[str | None, bool]:
    key = found.key("env")
    env = found[key] if key is not None and found[key] is not None else {}
    if not isinstance(env, dict):
        return None, False
    brought = {name: str(value) for name, value in env.items()}
    unset = found.field("unsetenv", list) or []
    path, added = _offered({**dict.fromkeys(map(str, unset)), **brought}, offer)
    if added:
        found.put("env", {**env, **added})
    return path, bool(added)


def _offered(brought: dict[str, str | None], offer: Offer) -> tuple[str | None, dict[str, str]]:
    """Return the path that was minted, if one was, and what is added."""
    if not offer.welcome(brought):
        return None, {}
    path = None if variables.RELATIVE_URI in brought else offer.mint()
    return path, offer.added(brought, path)
