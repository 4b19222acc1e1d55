"""Remove what a job has created at the docker engine: containers, networks, volumes, images."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from sidecar.docker.created import CONTAINER, LABEL, NETWORK, VOLUME
from sidecar.docker.engine import AnswerTooLong, EngineError, NotFound
from sidecar.docker.object_states import CONTAINERS, NETWORKS, read_states
from sidecar.docker.warning_limit import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sidecar.docker.created import CreatedObject, ObjectRecord
    from sidecar.docker.engine import Engine

IMAGE = "image"
_PATHS = {
    CONTAINER: "/containers/{}?force=1&v=1",
    NETWORK: "/networks/{}",
    VOLUME: "/volumes/{}",
    IMAGE: "/images/{}",
}
"""What removes each kind, in this order. `v` removes the anonymous volumes too."""
_ALL = ":*"
"""Ends the name that stands for all images of a label, if their own labels are too long to read."""
_TRIES = 4
"""How often an object is removed that the engine does not remove: it may be in use for a moment."""
_PAUSE = 0.1
"""Seconds until the next try."""
_RESPONSE_TIMEOUT = 1.0
"""Seconds to wait for create requests that the engine still works on."""
_AT_ONCE = 16
"""Requests at a time."""
MOST_NAMED = 16
"""Objects that one text or event names: a job may have made thousands."""
_CLOCK = 1
"""Seconds: the engine rounds the time of a volume."""


class Left(NamedTuple):
    """One object that is still there."""

    kind: str
    id: str

    def __str__(self) -> str:
        """Return it in short."""
        return f"{self.kind} {self.id[:12] if self.kind in (CONTAINER, NETWORK) else self.id}"


async def find_left(engine: Engine, objects: Iterable[CreatedObject]) -> list[Left]:
    """Return which of these objects are still there. Raises EngineError.

    A volume counts only if it was made when the job asked for it, for its name may be another's
    by now. An image counts if its name is the runner's own label.
    """
    wanted: dict[str, dict[str, CreatedObject]] = {}
    for one in objects:
        wanted.setdefault(one.kind, {})[one.id] = one
    left = []
    for kind, path in ((CONTAINER, CONTAINERS), (NETWORK, NETWORKS)):
        if kind in wanted:
            found = await read_states(engine, path, wanted[kind])
            left += [Left(kind, id_) for id_ in wanted[kind] if id_ in found]
    for volume in wanted.get(VOLUME, {}).values():
        if await _is_same_volume(engine, volume):
            left.append(Left(VOLUME, volume.id))
    for label in wanted.get(LABEL, {}):
        try:
            left += [Left(IMAGE, name) for name in await _find_images(engine, label)]
        except AnswerTooLong:
            left.append(Left(IMAGE, label + _ALL))
    return left


def _list(answer: Any) -> list[dict[str, Any]]:
    return [one for one in answer if isinstance(one, dict)] if isinstance(answer, list) else []


async def _is_same_volume(engine: Engine, volume: CreatedObject) -> bool:
    try:
        answer = await engine.get(f"/volumes/{quote(volume.id, safe='')}")
        made = datetime.fromisoformat(answer["CreatedAt"]).timestamp()
    except NotFound:
        return False
    except AnswerTooLong:
        return True  # by its labels, which a job chose
    except (KeyError, TypeError, ValueError):
        return False  # nothing says that it is the same
    return volume.since - _CLOCK <= made <= volume.until + _CLOCK


async def _find_images(engine: Engine, label: str) -> list[str]:
    filters = quote(json.dumps({"reference": [f"{label}:*"]}))
    own = re.compile(label + ":[0-9a-f]{32}")
    images = _list(await engine.get(f"/images/json?filters={filters}"))
    names = [name for image in images for name in image.get("RepoTags") or ()]
    return [name for name in names if isinstance(name, str) and own.fullmatch(name)]


async def remove_objects(engine: Engine, record: ObjectRecord) -> dict[str, int]:
    """Remove everything that `record` holds; return how many of each kind were removed.

    A container may have created another meanwhile, so it looks again until nothing is there.
    Raises EngineError, which names what the engine did not remove.
    """
    removed: Counter[str] = Counter()
    gone: set[Left] = set()
    for attempt in range(_TRIES):
        if attempt:
            await asyncio.sleep(_PAUSE)
        with suppress(TimeoutError):
            await asyncio.wait_for(record.wait_for_responses(), _RESPONSE_TIMEOUT)
        failed: dict[Left, str] = {}
        try:
            while not failed and (left := await find_left(engine, record.objects)):
                failed = await _remove(engine, left, gone)
                removed.update(f"{one.kind}s" for one in left if one not in failed)
        except EngineError:
            if attempt == _TRIES - 1:
                raise
            continue
        if not failed:
            return dict(removed)
    reasons = [shorten(f"{one}: {reason}") for one, reason in islice(failed.items(), MOST_NAMED)]
    listed = "; ".join(name_some(reasons, len(failed)))
    raise EngineError(f"cannot remove what the job made at {engine.host}: {listed}")


def name_some(names: list[str], number: int) -> list[str]:
    """Return the first names of so many, and how many there are besides."""
    named = names[:MOST_NAMED]
    return [*named, f"and {number - len(named)} more"] if number > len(named) else named


async def _remove(engine: Engine, left: list[Left], gone: set[Left]) -> dict[Left, str]:
    """Remove these, one kind after the other; return those that failed, and why.

    `gone` gets those that the engine did not find; if it lists one again, that one has failed.
    """
    failed: dict[Left, str] = {}
    turns = asyncio.Semaphore(_AT_ONCE)

    async def remove(one: Left) -> None:
        async with turns:
            try:
                if one.id.endswith(_ALL):
                    failed[one] = "their labels are too long for a list of them"
                    return
                await engine.delete(_PATHS[one.kind].format(quote(one.id, safe=":")))
            except NotFound:
                if one in gone:
                    failed[one] = "the engine lists it, but does not find it"
                gone.add(one)
            except EngineError as error:
                failed[one] = str(error)

    for kind in _PATHS:
        await asyncio.gather(*(remove(one) for one in left if one.kind == kind))
    return failed
